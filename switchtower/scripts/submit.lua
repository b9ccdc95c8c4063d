-- Write a job's record before its first message is published.
-- KEYS: job, events, due, idempotency ('' = none), parent ('' = none), children of the parent
-- ARGV: job id, record (field, value, ...) as JSON, handed-on time to look again (ms), time to live (s),
--       request hash, event JSON, max events
if KEYS[4] ~= '' then
  local known = redis.call('GET', KEYS[4])
  if known then
    local split = string.find(known, ' ')
    if string.sub(known, split + 1) ~= ARGV[5] then return {'conflict', string.sub(known, 1, split - 1)} end
    return {'known', string.sub(known, 1, split - 1)}
  end
end
if redis.call('EXISTS', KEYS[1]) == 1 then return {'known', ARGV[1]} end
if KEYS[5] ~= '' then
  local state = redis.call('HGET', KEYS[5], 'state')
  if state ~= 'queued' and state ~= 'running' then return {'orphan', state or 'unknown'} end
  redis.call('SADD', KEYS[6], ARGV[1])
  redis.call('EXPIRE', KEYS[6], ARGV[4])
end
if KEYS[4] ~= '' then redis.call('SET', KEYS[4], ARGV[1] .. ' ' .. ARGV[5], 'EX', ARGV[4]) end
redis.call('HSET', KEYS[1], unpack(cjson.decode(ARGV[2])))
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[1])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[7], '*', 'e', ARGV[6])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return {'new', ARGV[1]}
