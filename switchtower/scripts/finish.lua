-- The one door into a terminal state: the first to come wins, the others learn what it was.
-- KEYS: job, events, due, finished, dead letters, children, bell, audit
-- ARGV: job id, holder ('' = anyone), state, record JSON, retention (s), event JSON, max events,
--       dead-letter JSON ('' = none), notes for the audit ...
local job = redis.call('HMGET', KEYS[1], 'state', 'holder')
if not job[1] then return {'unknown'} end
if job[1] ~= 'queued' and job[1] ~= 'running' then return {'over', job[1]} end
if ARGV[2] ~= '' and job[2] ~= ARGV[2] then return {'moved', job[1]} end
local time = redis.call('TIME')
local now = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', KEYS[1], 'state', ARGV[3], 'holder', '', 'finished', now, unpack(cjson.decode(ARGV[4])))
redis.call('HDEL', KEYS[1], 'envelope', 'canvas')
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[7], '*', 'e', ARGV[6])
redis.pcall('XADD', KEYS[4], 'MAXLEN', '~', 100000, '*', 'job', ARGV[1], 'state', ARGV[3])
if ARGV[8] ~= '' then redis.call('XADD', KEYS[5], 'MAXLEN', '~', 100000, '*', 'e', ARGV[8]) end
redis.call('RPUSH', KEYS[7], ARGV[3])
for i = 9, #ARGV do redis.call('XADD', KEYS[8], 'MAXLEN', '~', 1000000, '*', 'e', ARGV[i]) end
for _, name in ipairs({KEYS[1], KEYS[2], KEYS[6], KEYS[7]}) do redis.call('EXPIRE', name, ARGV[5]) end
return {'ok', job[1]}
