-- The second part of the program that begins in delete.lua: snapshots, and what is done.

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

-- entry returns the parent's snapshot that stands for the name, and what it carries.
local function entry()
  for _, parent in ipairs(parents) do
    local index = parent .. "@" .. name
    if zfs.exists(index) and own(index, "zfs-csi:snapshot") ~= nil then
      return index, own(index, "zfs-csi:sources") or ""
    end
  end
  return nil, ""
end

-- orphan returns what a volume's snapshot carries when somebody has removed its entry.
local function orphan(id)
  for _, parent in ipairs(parents) do
    local snapshot = parent .. "/" .. id .. "@" .. name
    if zfs.exists(snapshot) and live(snapshot) then
      return own(snapshot, "zfs-csi:sources") or ""
    end
  end
  return ""
end

local function snapshots()
  local index, text = entry()
  if index == nil and what == "snapshot" then
    text = orphan(detail)
  end
  local named = what == "group"
  for id in string.gmatch(text, "[^ :]+:[^ :]+:[^ :]+:([^ ]+)") do
    named = named or id == detail
  end
  local members = datasets(text)
  if index == nil then
    -- Of a group without its entry each snapshot is one alone.
    for i = #members, 1, -1 do
      if members[i].id ~= detail then
        table.remove(members, i)
      end
    end
  end
  if not named or index == nil and #members == 0 then
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
  for _, m in ipairs(members) do
    zfs.sync.destroy({m.dataset .. "@" .. name, defer = true})
  end
  if index ~= nil then
    errno = zfs.sync.destroy(index)
  end
  if errno ~= 0 then
    return {status = "failed", dataset = index, errno = errno}
  end
  -- A tombstone goes with the last snapshot that it was kept for. One that cannot yet is left
  -- to the caller.
  local left = {}
  for _, m in ipairs(members) do
    if own(m.dataset, "zfs-csi:deleted") ~= nil then
      local status = remove(m.dataset, true).status
      if status ~= "deleted" and status ~= "buried" then
        left[#left + 1] = m.dataset
      end
    end
  end
  return {status = "deleted", dataset = index or members[1].dataset .. "@" .. name, left = left}
end

if what == "volume" then
  return volume(name, detail == "looked")
elseif what == "tombstone" then
  return tombstone(name)
end
return snapshots()
