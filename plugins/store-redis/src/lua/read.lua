-- Everything: identity, number of the last change, of the last change of owners, config; then name, value, time left and version of each lease.
local config = redis.call('GET', P .. ':config')
local all = { identity, redis.call('GET', P .. ':number') or '0', redis.call('GET', P .. ':owners') or '0', config and '1' .. config or '' }
for _, name in ipairs(redis.call('HKEYS', P .. ':leases')) do
  local value, left, version = lease(name)
  for _, field in ipairs({ name, value, left, version }) do
    all[#all + 1] = field
  end
end
return all
