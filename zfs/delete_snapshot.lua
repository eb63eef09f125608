-- The second part of the program that begins in delete.lua, for all but volumes and tombstones: snapshots.

-- datasets returns where the sources of the snapshots are, by the text that all of them carry (see source in snapshot.go).
local function datasets(text)
  local found = {}
  for guid, id in string.gmatch(text, "([^ :]+):[^ :]+:[^ :]+:([^ ]+)") do
    for _, parent in ipairs(parents) do
      for _, leaf in ipairs({id, ".deleted-" .. guid}) do
        local snapshot = parent .. "/" .. leaf .. "@" .. name
        if zfs.exists(snapshot) and own(snapshot, "zfs-csi:sources") == text then
          found[#found + 1] = {dataset = parent .. "/" .. leaf, id = id}
        end
      end
    end
  end
  return found
end

-- entry returns the snapshot that stands for the name, and what it carries.
local function entry()
  for _, parent in ipairs(parents) do
    for _, dataset in ipairs({parent, parent .. "/" .. part}) do
      local index = dataset .. "@" .. name
      if zfs.exists(index) and own(index, "zfs-csi:snapshot") ~= nil then
        return index, own(index, "zfs-csi:sources") or ""
      end
    end
  end
  return nil, ""
end

-- clear removes what was there for an entry that is gone, if it was the last of its kind there: a part, and their folder.
local function clear(index)
  for _, parent in ipairs(parents) do
    local dataset = parent .. "/" .. part
    if index == dataset .. "@" .. name and own(dataset, "zfs-csi:kind") ~= nil and first(zfs.list.snapshots(dataset)) == nil then
      zfs.sync.destroy(dataset)
      local folder = string.match(dataset, "^(.*)/")
      if own(folder, "zfs-csi:kind") ~= nil and first(zfs.list.children(folder)) == nil then
        zfs.sync.destroy(folder)
      end
    end
  end
end

-- orphans returns where snapshots of the name are that no entry tells of, since somebody has removed it: those of a
-- volume, in its place or its tombstones, or with "-" those of a group, for which it looks below all of the parents.
local function orphans(volume)
  local found, seen = {}, {}
  local function look(dataset)
    local snapshot = dataset .. "@" .. name
    if not zfs.exists(snapshot) or not live(snapshot) then
      return
    end
    local text = own(snapshot, "zfs-csi:sources") or ""
    if volume == "-" and (seen[text] or own(snapshot, "zfs-csi:group") == nil) then
      return
    end
    seen[text] = true
    for _, d in ipairs(datasets(text)) do
      if volume == "-" or d.id == volume and d.dataset == dataset then
        found[#found + 1] = d
      end
    end
  end
  for _, parent in ipairs(parents) do
    if volume ~= "-" then
      look(parent .. "/" .. volume)
    end
    for child in zfs.list.children(parent) do
      if volume == "-" or string.match(child, "/%.deleted%-[^/]*$") ~= nil then
        look(child)
      end
    end
  end
  return found
end

-- names tells whether a text that snapshots carry is of a volume.
local function names(text, volume)
  for id in string.gmatch(text, "[^ :]+:[^ :]+:[^ :]+:([^ ]+)") do
    if id == volume then
      return true
    end
  end
  return false
end

-- Without the entry they are looked for only as "orphaned", when no pool has it: that takes a walk.
local function snapshots()
  local orphaned = string.match(what, "^orphaned (.*)$")
  what = orphaned or what
  local index, text = entry()
  if what == "snapshot" and not names(text, detail) then
    index = nil
  end
  -- Of a group without its entry each snapshot can also be deleted as one alone.
  local members = {}
  if index ~= nil then
    members = datasets(text)
  elseif orphaned then
    members = orphans(detail)
  end
  if index == nil and #members == 0 then
    return {status = "absent"}
  end
  if index ~= nil and (own(index, "zfs-csi:group") ~= nil) ~= (what == "group") then
    return {status = what == "group" and "absent" or "grouped", dataset = index}
  end
  local errno = 0
  if index ~= nil then
    errno = zfs.check.destroy(index)
  end
  if errno ~= 0 then
    return {status = errno == EBUSY and "busy" or "failed", dataset = index, errno = errno}
  end
  for _, m in ipairs(members) do
    errno = zfs.check.destroy({m.dataset .. "@" .. name, defer = true})
    if errno ~= 0 then
      return {status = errno == EBUSY and "busy" or "failed", dataset = m.dataset .. "@" .. name, errno = errno}
    end
  end
  -- The entry is first: ZFS stops a program whose process was killed, and without it the others are found again.
  if index ~= nil then
    errno = zfs.sync.destroy(index)
  end
  if errno ~= 0 then
    return {status = "failed", dataset = index, errno = errno}
  end
  for _, m in ipairs(members) do
    zfs.sync.destroy({m.dataset .. "@" .. name, defer = true})
  end
  clear(index)
  -- A tombstone goes with the last snapshot that it was kept for. One that cannot yet is left
  -- to the caller.
  local left = {}
  for _, m in ipairs(members) do
    if own(m.dataset, "zfs-csi:deleted") ~= nil then
      local status = remove(m.dataset, true, true).status
      if status ~= "deleted" and status ~= "buried" then
        left[#left + 1] = m.dataset
      end
    end
  end
  return {status = "deleted", dataset = index or members[1].dataset .. "@" .. name, left = left}
end

-- found returns what orphans carry, each text once.
local function found()
  local texts, seen = {}, {}
  for _, d in ipairs(orphans(detail)) do
    local text = own(d.dataset .. "@" .. name, "zfs-csi:sources")
    if not seen[text] then
      seen[text] = true
      texts[#texts + 1] = text
    end
  end
  return {status = #texts > 0 and "found" or "absent", sources = texts}
end

if what == "orphans" then
  return found()
end
return snapshots()
