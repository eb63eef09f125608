-- Takes snapshots with their properties, and marks snapshots for their removal, in one transaction
-- group: a crash falls before or after all of it.

-- ZFS takes no second snapshot of a dataset in one transaction group; who asks for it comes again.
local AGAIN = 11

-- take takes all of the snapshots or none, and gives each the properties. It returns when each
-- was taken, in seconds, or the error number and the snapshot that could not be taken.
local function take(names, properties)
  local errno, taken = 0, {}
  for _, name in ipairs(names) do
    errno = zfs.sync.snapshot(name)
    if errno == 0 then
      taken[#taken + 1] = name
      for property, value in pairs(properties) do
        if errno == 0 then
          errno = zfs.sync.set_prop(name, property, value)
        end
      end
    end
    if errno ~= 0 then
      for _, t in ipairs(taken) do
        zfs.sync.destroy(t)
      end
      return {errno = errno, what = name}
    end
  end
  local created = {}
  for i, name in ipairs(names) do
    created[i] = zfs.get_prop(name, "creation")
  end
  return {errno = 0, created = created}
end

-- own returns a user property's value when it was set on the dataset itself.
local function own(dataset, property)
  local value, source = zfs.get_prop(dataset, property)
  return source == dataset and value or nil
end

-- lookAndTake looks, and takes the snapshot that a clone is to be made of at once where nothing is in
-- the way: the parents are marked, no target is there, and the source is a volume that need not be
-- brought to rest. "taken" then is the snapshot; where there is none the caller sees why.
local done = {}
local function lookAndTake(names, parents, driver, targets, sources, leaf, properties)
  for _, source in ipairs(sources) do
    if done[source] then
      return {errno = AGAIN}
    end
  end
  local answer = look(names, parents, {})
  for parent in pairs(parents) do
    if not zfs.exists(parent) or own(parent, "zfs-csi:driver") ~= driver then
      return answer
    end
  end
  for _, target in ipairs(targets) do
    if zfs.exists(target) then
      return answer
    end
  end
  for _, source in ipairs(sources) do
    if zfs.exists(source) then
      if own(source, "zfs-csi:volume") == nil or own(source, "zfs-csi:deleted") ~= nil or own(source, "zfs-csi:fstype") ~= nil then
        return answer
      end
      local errno = take({source .. "@" .. leaf}, properties).errno
      done[source] = true
      if errno == AGAIN then
        return {errno = AGAIN}
      elseif errno == 0 then
        answer.taken = source .. "@" .. leaf
      end
      return answer
    end
  end
  return answer
end

-- mine tells whether a snapshot is there and is the one that was taken by the driver with that leaf.
local function mine(snapshot, leaf)
  if not zfs.exists(snapshot) then
    return false
  end
  local value, source = zfs.get_prop(snapshot, "zfs-csi:kind")
  return source == snapshot and value == leaf
end

-- mark lets a snapshot that was taken for a clone go with its last clone. A promotion since then
-- has moved it to a clone, which is found by the origin of the one that it was taken for. One that
-- is nowhere has gone, or goes with the volume that holds it.
local function mark(dataset, leaf, clone)
  local places = {dataset .. "@" .. leaf, clone .. "@" .. leaf}
  if zfs.exists(clone) then
    places[3] = zfs.get_prop(clone, "origin")
  end
  for _, snapshot in pairs(places) do
    if mine(snapshot, leaf) then
      return {errno = zfs.sync.destroy({snapshot, defer = true}), what = snapshot}
    end
  end
  return {errno = 0}
end
