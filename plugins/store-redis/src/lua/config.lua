-- Writes the config in the place of the one that it was made from. ARGV: 2 the new one, 3 "1" and the old one, or nothing. Answers with "1" or "0".
local config = redis.call('GET', P .. ':config')
if (config and '1' .. config or '') ~= ARGV[3] then return { '0' } end
redis.call('SET', P .. ':config', ARGV[2])
note('config')
return { '1' }
