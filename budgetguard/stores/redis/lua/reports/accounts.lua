#!lua flags=no-writes,allow-oom
--{common}
local lib = library()
-- ARGV: now, the first key, the last, how many, in the way of ZRANGEBYLEX.
-- For each: key, settled, expired into settled (a list to be summed), held, expired of held (another), end_ms, pruned.
local adjust, found = lib.expired(clock(ARGV[1])), {}
for _, key in ipairs(call('ZRANGEBYLEX', P .. 'k', ARGV[2], ARGV[3], 'LIMIT', 0, ARGV[4])) do
  local row = call('HMGET', ACCOUNT .. key, 's', 'h', 'e', 'p')
  local due = adjust[key] or {{0}, {0}}
  found[#found + 1] = {key, row[1], due[1], row[2], due[2], row[3], row[4]}
end
return found
