-- Deletes a volume, whatever was cloned from it, in one transaction group: either all
-- of it happens or none, also when the power goes. See zfs-program(8).
--
-- Arguments: the driver's name, the volume's ID, and its possible parents in this pool.
-- Result: {status=..., dataset=..., ...}; the statuses are those of deletion in delete.go.

local argv = (...)["argv"]
local driver, id = argv[1], argv[2]

-- own returns a user property's value when it was set on the dataset itself.
local function own(dataset, property)
  local value, source = zfs.get_prop(dataset, property)
  if source == dataset then
    return value
  end
  return nil
end

-- first returns the first item of an iterator, or nil.
local function first(iterator)
  for item in iterator do
    return item
  end
  return nil
end

-- all returns the items of an iterator, which must not be running while they change.
local function all(iterator)
  local items = {}
  for item in iterator do
    items[#items + 1] = item
  end
  return items
end

-- A volume's absence counts only where its parent is there and marked.
local dataset, copy
for i = 3, #argv do
  local parent = argv[i]
  if not zfs.exists(parent) or own(parent, "zfs-csi:driver") ~= driver then
    return {status = "unmarked", dataset = parent}
  end
  if zfs.exists(parent .. "/" .. id) then
    dataset = parent .. "/" .. id
  end
  if zfs.exists(parent .. "/.copy-" .. id) then
    copy = parent .. "/.copy-" .. id
  end
end

-- What an interrupted copy left below the name goes with it.
if copy ~= nil then
  for _, snapshot in ipairs(all(zfs.list.snapshots(copy))) do
    zfs.sync.destroy(snapshot)
  end
  local errno = zfs.sync.destroy(copy)
  if errno ~= 0 then
    return {status = "failed", dataset = copy, errno = errno}
  end
end
if dataset == nil then
  return {status = "absent"}
end
if own(dataset, "zfs-csi:volume") == nil then
  return {status = "foreign", dataset = dataset}
end

-- Look at everything before anything is changed.
local child = first(zfs.list.children(dataset))
if child ~= nil then
  return {status = "dependent", dataset = dataset, what = child}
end
local snapshots = all(zfs.list.snapshots(dataset))
for _, snapshot in ipairs(snapshots) do
  if zfs.get_prop(snapshot, "userrefs") > 0 then
    return {status = "held", dataset = dataset, what = snapshot}
  end
  for clone in zfs.list.clones(snapshot) do
    if own(clone, "zfs-csi:volume") == nil then
      return {status = "dependent", dataset = dataset, what = clone}
    end
  end
end
-- A rollback's check is the one that tells a dataset in use apart from one that has
-- snapshots; of its other answers none matters here.
if zfs.check.rollback(dataset) == EBUSY then
  return {status = "busy", dataset = dataset}
end

-- Snapshots that nothing was cloned from go with their volume. They must go first:
-- promotion would carry them over, and fails where the clone has one of the same name.
for _, snapshot in ipairs(snapshots) do
  if first(zfs.list.clones(snapshot)) == nil then
    local errno = zfs.sync.destroy(snapshot)
    if errno ~= 0 then
      return {status = "failed", dataset = snapshot, errno = errno}
    end
  end
end

-- newest returns a clone of the newest snapshot that has one. The order in which
-- snapshots are listed says nothing of their age.
local function newest()
  local clone, txg = nil, -1
  for snapshot in zfs.list.snapshots(dataset) do
    local created = zfs.get_prop(snapshot, "createtxg")
    local c = first(zfs.list.clones(snapshot))
    if c ~= nil and created > txg then
      clone, txg = c, created
    end
  end
  return clone
end

-- Promotion hands a clone all snapshots up to its origin, so one is enough, but for
-- snapshots of the same transaction group, whose order createtxg does not tell.
local promoted = {}
local function undo()
  for _ = 1, #promoted do
    zfs.sync.promote(dataset)
  end
end
local clone = newest()
while clone ~= nil do
  local errno = zfs.sync.promote(clone)
  if errno ~= 0 then
    undo()
    return {status = "failed", dataset = clone, errno = errno}
  end
  promoted[#promoted + 1] = clone
  clone = newest()
end

local origin = zfs.get_prop(dataset, "origin")
local errno = zfs.sync.destroy(dataset)
if errno ~= 0 then
  undo()
  if errno == EBUSY then
    return {status = "busy", dataset = dataset}
  end
  return {status = "failed", dataset = dataset, errno = errno}
end

-- A crash between the clone and the mark on its snapshot left the mark to be made.
if origin ~= nil and zfs.exists(origin) and own(origin, "zfs-csi:kind") ~= nil then
  zfs.sync.destroy({origin, defer = true})
end
return {status = "deleted", dataset = dataset, promoted = promoted}
