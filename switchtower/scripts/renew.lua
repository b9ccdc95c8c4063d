-- Prolong the leases of the steps that one worker is running; says which of them are its own no more.
-- KEYS: due, job, job, ...
-- ARGV: lease (ms), job id, holder, job id, holder, ...
local time = redis.call('TIME')
local lease = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1])
local lost = {}
for i = 2, #KEYS do
  local id, holder = ARGV[2 * i - 2], ARGV[2 * i - 1]
  local job = redis.call('HMGET', KEYS[i], 'state', 'holder')
  if job[1] == 'running' and job[2] == holder then
    redis.call('HSET', KEYS[i], 'lease', lease)
    redis.call('ZADD', KEYS[1], 'XX', lease, id)
  else
    lost[#lost + 1] = id
  end
end
return lost
