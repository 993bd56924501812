#!lua flags=no-writes,allow-oom
--{common}
local lib = library()
-- ARGV: now, keys. For each: settled, expired into settled (a list to be summed), held, expired of held (another).
local adjust, found = lib.expired(clock(ARGV[1])), {}
for at = 2, #ARGV do
  local sums = call('HMGET', ACCOUNT .. ARGV[at], 's', 'h')
  local due = adjust[ARGV[at]] or {{0}, {0}}
  found[#found + 1] = {sums[1] or '0', due[1], sums[2] or '0', due[2]}
end
return found
