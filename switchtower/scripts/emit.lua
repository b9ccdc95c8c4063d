-- A piece of progress from the step's holder; its answer tells the holder whether to go on.
-- KEYS: flag, job, events
-- ARGV: verified open flag, holder, event JSON, max events
if ARGV[1] == '' or redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return {'halted'} end
local job = redis.call('HMGET', KEYS[2], 'state', 'holder')
if job[1] ~= 'running' or job[2] ~= ARGV[2] then return {'moved', job[1] or 'unknown'} end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[4], '*', 'e', ARGV[3])
return {'ok'}
