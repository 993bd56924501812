#!lua flags=allow-oom
--{common}
local lib = library()
-- ARGV: now, id.
local now, id = clock(ARGV[1]), ARGV[2]
local row = lib.known(id, now)
if row and row[1] == 'E' then
  if row[3] == 1 then lib.write(id, {'E', row[2], 0}) end
  return 0
end
if row and row[1] == 'S' then
  if row[4] ~= 'expired' then return 0 end
  lib.add(row[5], 0 - row[3], 0)
  call('ZREM', ENTRIES, id)
elseif row then
  lib.add(row[6], 0, 0 - row[3])
end
lib.forget_at(id, now + KEEP_MS, 0)
return 1
