#!lua flags=allow-oom
--{common}
local lib = library()
-- ARGV: before_ms, the first key, in the way of ZRANGEBYLEX, how many. Deletes accounts whose period ended before then
-- and that nothing is held on or listed of; the last key looked at.
local needed = {}
for _, id in ipairs(call('ZRANGE', DUE, 0, -1)) do
  local row = lib.read(id)
  if row and row[1] == 'O' then
    for _, key in ipairs(row[6]) do needed[key] = true end
  end
end
local before, last = tonumber(ARGV[1]), false
for _, key in ipairs(call('ZRANGEBYLEX', P .. 'k', ARGV[2], '+', 'LIMIT', 0, ARGV[3])) do
  local row = call('HMGET', ACCOUNT .. key, 's', 'p', 'e')
  if row[3] and tonumber(row[3]) <= before and row[1] == row[2] and not needed[key] then
    call('DEL', ACCOUNT .. key)
    call('ZREM', P .. 'k', key)
  end
  last = key
end
return last
