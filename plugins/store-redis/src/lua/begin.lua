-- What every script begins with: the time, the log of changes, and the end of what is over. KEYS[1] is the prefix.
local P = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if redis.call('EXISTS', P .. ':identity') == 0 then
  redis.call('SET', P .. ':identity', redis.sha1hex(clock[1] .. '.' .. clock[2] .. '.' .. ARGV[1]))
end
local identity = redis.call('GET', P .. ':identity')
-- Writes a change down and wakes whoever watches; its number.
local function note(what)
  local number = redis.call('INCR', P .. ':number')
  redis.call('RPUSH', P .. ':log', what)
  redis.call('LTRIM', P .. ':log', -4096, -1)
  redis.call('PUBLISH', P .. ':news', number)
  return number
end
local function forget(name)
  redis.call('HDEL', P .. ':leases', name)
  redis.call('HDEL', P .. ':versions', name)
  redis.call('ZREM', P .. ':until', name)
  redis.call('INCR', P .. ':owners')
  note('lease ' .. name)
end
for _, name in ipairs(redis.call('ZRANGEBYSCORE', P .. ':until', '-inf', now)) do
  forget(name)
end
-- Value, milliseconds that are left (empty: for ever), and version of a lease; nothing when there is none.
local function lease(name)
  local value = redis.call('HGET', P .. ':leases', name)
  if not value then return '', '', '' end
  local over = redis.call('ZSCORE', P .. ':until', name)
  local left = over and string.format('%d', over - now) or ''
  return value, left, redis.call('HGET', P .. ':versions', name)
end
