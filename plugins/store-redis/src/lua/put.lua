-- Writes a lease, on a condition. ARGV: 2 its name, 3 its value, 4 its term in milliseconds (0: for ever), 5 what the condition is about ("owners" or
-- "version"), 6 what that must be, 7 "1": a reservation stays one, 8 "1": its owner may be another now.
-- Answers with "1", the version, and "1" for a reservation; or with "0" and the lease as it is.
local name = ARGV[2]
local value, left, version = lease(name)
local met = ARGV[5] == 'owners' and (redis.call('GET', P .. ':owners') or '0') == ARGV[6] or ARGV[5] == 'version' and version == ARGV[6]
if not met then return { '0', value, left, version } end
local reserved = ARGV[4] == '0' or (ARGV[7] == '1' and value ~= '' and left == '')
redis.call('HSET', P .. ':leases', name, ARGV[3])
if reserved then
  redis.call('ZREM', P .. ':until', name)
else
  redis.call('ZADD', P .. ':until', now + ARGV[4], name)
end
if ARGV[8] == '1' then redis.call('INCR', P .. ':owners') end
local written = string.format('%d', note('lease ' .. name))
redis.call('HSET', P .. ':versions', name, written)
return { '1', written, reserved and '1' or '0' }
