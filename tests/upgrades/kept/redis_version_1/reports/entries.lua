#!lua flags=no-writes,allow-oom
--{common}
local lib = library()
-- ARGV: since_ms, until_ms, after_ms, after_id (or ''), how many.
-- For each, in the order of (at_ms, id): id, at_ms, cost, flags, what was said, keys.
local all, first = ENTRIES, 0
if ARGV[4] ~= '' then
  local rank = call('ZRANK', all, ARGV[4])
  if rank then
    first = rank + 1
  else -- it is gone: begin with what would stand behind it
    first = call('ZCOUNT', all, '-inf', '(' .. ARGV[3])
    for _, id in ipairs(call('ZRANGEBYSCORE', all, ARGV[3], ARGV[3])) do
      if id < ARGV[4] then first = first + 1 end
    end
  end
elseif ARGV[1] ~= '' then
  first = call('ZCOUNT', all, '-inf', '(' .. ARGV[1])
end
local last = tonumber(ARGV[2])
local found = {}
for _, id in ipairs(call('ZRANGE', all, first, first + tonumber(ARGV[5]) - 1)) do
  local row = lib.read(id)
  if last and row[2] >= last then break end
  found[#found + 1] = {id, row[2], row[3], row[4], row[6], row[5]}
end
return found
