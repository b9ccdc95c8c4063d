-- Store a step's sealed outcome, which is the next step's message, before the old one is acknowledged.
-- KEYS: job, events, due, audit
-- ARGV: job id, holder, record JSON, grace (ms), event JSON, max events, notes for the audit ...
local job = redis.call('HMGET', KEYS[1], 'state', 'holder')
if job[1] ~= 'running' or job[2] ~= ARGV[2] then return {'moved', job[1] or 'unknown'} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'state', 'queued', 'deliveries', 0, 'holder', '', 'handed', string.format('%d', now),
  unpack(cjson.decode(ARGV[3])))
redis.call('ZADD', KEYS[3], now + ARGV[4], ARGV[1])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[6], '*', 'e', ARGV[5])
for i = 7, #ARGV do redis.call('XADD', KEYS[4], 'MAXLEN', '~', 1000000, '*', 'e', ARGV[i]) end
return {'ok'}
