-- The holder hands its step back unfinished; the delivery does not count, unless the step itself may be to blame.
-- KEYS: job, events, due
-- ARGV: job id, holder, grace (ms), event JSON, max events, '1' = the delivery counts
local job = redis.call('HMGET', KEYS[1], 'state', 'holder')
if job[1] ~= 'running' or job[2] ~= ARGV[2] then return {'moved', job[1] or 'unknown'} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'state', 'queued', 'holder', '', 'handed', string.format('%d', now))
if ARGV[6] ~= '1' then redis.call('HINCRBY', KEYS[1], 'deliveries', -1) end
redis.call('ZADD', KEYS[3], now + ARGV[3], ARGV[1])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*', 'e', ARGV[4])
return {'ok'}
