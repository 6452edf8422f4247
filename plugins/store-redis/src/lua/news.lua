-- What has changed since a number. ARGV: 2 the identity, 3 the number. Answers with "lost", or with the number of the last change, the milliseconds to the
-- next end of a lease (empty: none) and, for each thing that changed, in the order of its last change: what it is, value, time left and version.
local number, from = tonumber(redis.call('GET', P .. ':number') or '0'), tonumber(ARGV[3])
local kept = redis.call('LLEN', P .. ':log')
if ARGV[2] ~= identity or not from or from > number or from < number - kept then return { 'lost' } end
local over = redis.call('ZRANGE', P .. ':until', 0, 0, 'WITHSCORES')[2]
local all = { string.format('%d', number), over and string.format('%d', over - now) or '' }
local changed = from < number and redis.call('LRANGE', P .. ':log', from - number, -1) or {}
local last = {}
for place, what in ipairs(changed) do last[what] = place end
for place, what in ipairs(changed) do
  if last[what] == place then
    local value, left, version
    if what == 'config' then
      local config = redis.call('GET', P .. ':config')
      value, left, version = config and '1' .. config or '', '', ''
    else
      value, left, version = lease(string.sub(what, 7))
    end
    for _, field in ipairs({ what, value, left, version }) do all[#all + 1] = field end
  end
end
return all
