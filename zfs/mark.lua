-- Marks snapshots for their removal, in one transaction group: a crash falls before or after all of it.

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
