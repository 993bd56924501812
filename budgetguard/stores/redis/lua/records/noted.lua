#!lua flags=no-writes,allow-oom
--{common}
-- ARGV: kind, the first id, the last, in the way of ZRANGEBYLEX, how many, whether the last come first. For each: id,
-- what was said.
local all, ids, found = P .. 'r:' .. ARGV[1], nil, {}
if ARGV[5] == '1' then
  ids = call('ZRANGE', all, ARGV[3], ARGV[2], 'BYLEX', 'REV', 'LIMIT', 0, ARGV[4])
else
  ids = call('ZRANGE', all, ARGV[2], ARGV[3], 'BYLEX', 'LIMIT', 0, ARGV[4])
end
for place, id in ipairs(ids) do found[place] = {id, call('HGET', P .. 'n:' .. ARGV[1], id)} end
return found
