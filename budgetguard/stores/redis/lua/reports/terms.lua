#!lua flags=no-writes,allow-oom
--{common}
-- ARGV: the first key, the last, how many, in the way of ZRANGEBYLEX. For each: key, version, body.
local found = {}
for _, key in ipairs(call('ZRANGEBYLEX', P .. 't', ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])) do
  local row = call('HMGET', P .. 't:' .. key, 'v', 'b')
  found[#found + 1] = {key, row[1], row[2]}
end
return found
