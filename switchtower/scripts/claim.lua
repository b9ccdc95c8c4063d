-- The gate and the claim of a step, in one: nothing starts unless the flag is the one that was verified
-- as open, and only one holder at a time has a step.
-- KEYS: flag, job, events, due
-- ARGV: verified open flag, job id, station, nonce, holder, lease (ms), max deliveries, record JSON ('' = the
--       job must be known), time to live of a job that enters (s), event JSON, max events, canvas JSON ('' = none)
if ARGV[1] == '' or redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return {'halted'} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local job = redis.call('HMGET', KEYS[2], 'state', 'station', 'nonce', 'lease', 'deliveries', 'deadline', 'avoid')
local entered = not job[1]
if entered then
  if ARGV[8] == '' then return {'unknown'} end
  redis.call('HSET', KEYS[2], unpack(cjson.decode(ARGV[8])))
  redis.call('EXPIRE', KEYS[2], ARGV[9])
  job = redis.call('HMGET', KEYS[2], 'state', 'station', 'nonce', 'lease', 'deliveries', 'deadline', 'avoid')
end
if job[2] ~= ARGV[3] or job[3] ~= ARGV[4] then return {'replayed'} end
if job[1] ~= 'queued' and job[1] ~= 'running' then return {'over', job[1]} end
if job[1] == 'running' and tonumber(job[4]) > now then return {'busy'} end
if tonumber(job[6]) <= now then return {'expired'} end
local deliveries = tonumber(job[5]) + 1
if deliveries > tonumber(ARGV[7]) then return {'capped'} end
local lease = string.format('%d', now + ARGV[6])
redis.call('HSET', KEYS[2], 'state', 'running', 'holder', ARGV[5], 'lease', lease, 'deliveries', deliveries)
if ARGV[12] ~= '' then redis.call('HSET', KEYS[2], 'canvas', ARGV[12]) end
redis.call('ZADD', KEYS[4], lease, ARGV[2])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[11], '*', 'e', ARGV[10])
if entered then redis.call('EXPIRE', KEYS[3], ARGV[9]) end
return {'ok', deliveries, job[7] or ''}
