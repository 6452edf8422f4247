-- Removes a lease of just that version. ARGV: 2 its name, 3 its version. Answers with "1", or with "0" and the lease as it is.
local value, left, version = lease(ARGV[2])
if version ~= ARGV[3] then return { '0', value, left, version } end
forget(ARGV[2])
return { '1' }
