"""Checks proofs.json: proofs of many keys, of ranges and of changes in the tree, and chunks of it, verified from their
description alone.

Run by check.py. The tree and its hashes are described in `violeta-proof/src/tree/mod.rs`, the proofs in `partial.rs`,
`changes.rs` and `chunk.rs` beside it. This walks them by recursion, half by half, where the library does so slot by slot.
"""

import json
import os

from check import digest, raw, u16, u32, u64

ZERO = bytes(32)
ALL = (0, (1 << 256) - 1)


class Refused(Exception):
    """The proof doesn't show what is claimed."""


def require(holds, why):
    if not holds:
        raise Refused(why)


# ── The tree ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def path(key):
    return int.from_bytes(digest("tree path", key), "big")


def value_hash(value):
    return digest("tree value", value)


def leaf_hash(key, value_hash_):
    return digest("tree leaf", u32(len(key)), key, value_hash_)


def join(left, right):
    if left is None or right is None:
        return left or right
    return digest("tree inner", left, right)


def node_hash(bitmap, compressed):
    require(compressed is not None, "a node without children")
    return digest("tree node", u16(bitmap), compressed)


def space_hash(name, record):
    kind, count, root = record
    return digest("tree space", u32(len(name)), name, bytes([kind]), u64(count), root)


def root_of(leaves, depth=0):
    """The root of a tree from its leaves: a dictionary from path to digest."""
    if len(leaves) < 2:
        return next(iter(leaves.values()), None)
    slots = [{} for _ in range(16)]
    for where, leaf in leaves.items():
        slots[where >> 252 - 4 * depth & 15][where] = leaf
    level = [root_of(slot, depth + 1) for slot in slots]
    bitmap = sum(1 << i for i, slot in enumerate(level) if slot)
    while len(level) > 1:
        level = [join(level[i], level[i + 1]) for i in range(0, len(level), 2)]
    return node_hash(bitmap, level[0])


def state_root(spaces):
    top = {}
    for name, keys in spaces.items():
        root = root_of({path(raw(k)): leaf_hash(raw(k), value_hash(raw(v))) for k, v in keys.items()})
        name = raw(name)
        top[path(name)] = space_hash(name, (1, len(keys), root or ZERO))
    return digest("tree top", root_of(top) or ZERO)


# ── Borsh, read ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Reader:
    def __init__(self, data):
        self.data = data

    def take(self, count):
        require(count <= len(self.data), "the bytes end early")
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def number(self, size):
        return int.from_bytes(self.take(size), "little")

    def digest(self):
        return self.take(32)

    def blob(self, limit):
        length = self.number(4)
        require(length <= limit, "too long")
        return self.take(length)

    def sequence(self, item):
        return [item() for _ in range(self.number(4))]

    def variant(self, count):
        number = self.number(1)
        require(number < count, "no such variant")
        return number

    def option(self, item):
        return item() if self.variant(2) else None

    def node(self):
        return self.number(2), self.number(2)

    def leaf(self):
        """(key, digest of the value, digest of the leaf, whether it must be within the window: either may be)"""
        key, value = self.blob(4096), self.digest()
        return key, value, leaf_hash(key, value), None

    def chunk_leaf(self):
        if self.variant(2) == 0:
            key, value = self.blob(4096), self.blob(16 << 20)
            return key, value, leaf_hash(key, value_hash(value)), True
        key, value = self.blob(4096), self.digest()
        return key, None, leaf_hash(key, value), False

    def listed_space(self):
        name, record = self.blob(255), self.record()
        return name, record, space_hash(name, record), None

    def range(self):
        return int.from_bytes(self.digest(), "big"), int.from_bytes(self.digest(), "big")

    def pair(self):
        """(older node, newer node, slots that differ)"""
        variant = self.variant(3)
        if variant == 2:
            return self.node(), self.node(), self.number(2)
        node = self.node()
        return (node, None, None) if variant == 0 else (None, node, None)

    def changed_leaf(self):
        """(key, digest of the older value, digest of the newer value)"""
        key, variant = self.blob(4096), self.variant(4)
        if variant == 2:
            old, new = self.digest(), self.digest()
            require(old != new, "replaced by the same")
            return key, old, new
        value = self.digest()
        return [(key, None, value), (key, value, None), None, (key, value, value)][variant]

    def record(self):
        kind, count, root = self.number(1), self.number(8), self.digest()
        require(kind == 1, "no such kind of space")
        return kind, count, root

    def space(self, root, name):
        """Checks the way to a space in the top tree; the root of the space's tree."""
        bitmaps, siblings = self.sequence(lambda: self.number(2)), self.sequence(self.digest)
        variant = self.variant(3)
        where, leaf, tree = path(name), None, ZERO
        if variant == 0:
            record = self.record()
            leaf, tree = space_hash(name, record), record[2]
        elif variant == 2:
            other, record = self.blob(255), self.record()
            leaf = space_hash(other, record)
            require(other != name, "the space itself shows no absence")
            shared = 256 - 4 * len(bitmaps)
            require(path(other) >> shared == where >> shared, "the other space lies elsewhere")
        require(len(bitmaps) <= 64, "too deep")
        for depth, bitmap in zip(range(len(bitmaps) - 1, -1, -1), bitmaps):
            slot = where >> 252 - 4 * depth & 15
            require((leaf is not None) == bool(bitmap >> slot & 1), "the bitmap contradicts the way")
            for width in (1, 2, 4, 8):
                first = (slot ^ width) & ~(width - 1)
                beside = None
                if bitmap >> first & (1 << width) - 1:
                    require(siblings, "too few siblings")
                    beside = siblings.pop(0)
                leaf = join(beside, leaf) if slot & width else join(leaf, beside)
            leaf = node_hash(bitmap, leaf)
        require(not siblings, "too many siblings")
        require(digest("tree top", leaf or ZERO) == root, "another root")
        return tree

    def end(self):
        require(not self.data, "bytes are left")


# ── Partial trees ────────────────────────────────────────────────────────────────────────────────────────────────────


def within(window, where):
    return any(start <= where <= end for start, end in window)


def meets(window, prefix, depth):
    shift = 256 - 4 * depth
    first, last = prefix << shift, (prefix + 1 << shift) - 1
    return any(start <= last and first <= end for start, end in window)


class Pieces:
    """Arrays of which one element after the other is taken, and all."""

    def __init__(self, **arrays):
        self.arrays = arrays

    def next(self, name):
        require(self.arrays[name], f"one of {name} is missing")
        return self.arrays[name].pop(0)

    def end(self):
        for name, rest in self.arrays.items():
            require(not rest, f"{name} are left")


def partial_tree(reader, window, read_leaf=Reader.leaf):
    """The root that a partial tree leads to, and the leaves within the window."""
    pieces = Pieces(
        nodes=reader.sequence(reader.node),
        leaves=reader.sequence(lambda: read_leaf(reader)),
        digests=reader.sequence(reader.digest),
    )
    found = []

    def leaf(prefix, depth):
        key, value, hashed, must_be_within = pieces.next("leaves")
        where = path(key)
        require(where >> 256 - 4 * depth == prefix, "a leaf belongs elsewhere")
        require(must_be_within in (None, within(window, where)), "a leaf has another form")
        if within(window, where):
            found.append((key, value))
        return hashed

    def node(prefix, depth):
        bitmap, leaves = pieces.next("nodes")
        require(depth < 64, "too deep")
        is_open = [bitmap >> i & 1 and meets(window, prefix << 4 | i, depth + 1) for i in range(16)]
        require(all(is_open[i] for i in range(16) if leaves >> i & 1), "a leaf in a closed slot")

        def half(first, width):
            if not bitmap >> first & (1 << width) - 1:
                return None
            if not any(is_open[first:first + width]):
                return pieces.next("digests")
            if width == 1:
                below = leaf if leaves >> first & 1 else node
                return below(prefix << 4 | first, depth + 1)
            width //= 2
            left = half(first, width)
            return join(left, half(first + width, width))

        return node_hash(bitmap, half(0, 16))

    root = ZERO
    if pieces.arrays["nodes"]:
        root = node(0, 0)
    elif pieces.arrays["leaves"]:
        root = leaf(0, 0)
    pieces.end()
    return root, found


def changed_tree(reader, window, roots):
    """Checks a tree of changes against both roots; the changes within the window."""
    kinds = reader.variant(3), reader.variant(3)
    pieces = Pieces(
        nodes=reader.sequence(reader.pair),
        leaves=reader.sequence(reader.changed_leaf),
        digests=reader.sequence(reader.digest),
    )
    found, last, empty, leaf_, node_ = [], [-1], 0, 1, 2
    if roots[0] == roots[1]:
        require(kinds == (empty, empty), "nothing differs")
        pieces.end()
        return found

    def take(prefix, depth):
        key, *values = pieces.next("leaves")
        where = path(key)
        require(where >> 256 - 4 * depth == prefix, "a leaf belongs elsewhere")
        require(where > last[0], "leaves are out of order")
        last[0] = where
        if values[0] != values[1] and within(window, where):
            found.append((key, *values))
        return [value and leaf_hash(key, value) for value in values]

    def leaves(prefix, depth, kinds):
        """Each version has nothing or a leaf."""
        have = [None, None]
        while [digest_ is not None for digest_ in have] != [kind == leaf_ for kind in kinds]:
            for side, digest_ in enumerate(take(prefix, depth)):
                require(digest_ is None or (have[side] is None and kinds[side] == leaf_), "a leaf too many")
                have[side] = have[side] or digest_
        require(have[0] != have[1], "nothing differs")
        return have

    def place(prefix, depth, kinds):
        if node_ not in kinds:
            return leaves(prefix, depth, kinds)
        if kinds != (node_, node_):
            return one_sided(prefix, depth, kinds)
        nodes = pieces.next("nodes")
        require(None not in nodes and depth < 64, "two nodes are opened")
        differ = nodes[2]
        old, new = nodes[0][0], nodes[1][0]
        inside = sum(1 << i for i in range(16) if meets(window, prefix << 4 | i, depth + 1))
        require(not differ & ~((old | new) & inside), "a slot differs that can't")
        require(all(not leaves & ~(bitmap & differ) for bitmap, leaves in nodes[:2]), "a leaf in a closed slot")

        def kind(side, slot):
            bitmap, leaves = nodes[side]
            return (leaf_ if leaves >> slot & 1 else node_) if bitmap >> slot & 1 else empty

        def half(first, width):
            slots = (1 << width) - 1 << first
            if width == 1 and differ & slots:
                return place(prefix << 4 | first, depth + 1, (kind(0, first), kind(1, first)))
            filled = (old | new) & slots
            if not differ & slots and not filled & ~inside:
                require(old & slots == new & slots, "what differs is closed")
                return [filled and pieces.next("digests") or None] * 2
            if not differ & slots and not filled & inside:
                return [bitmap & slots and pieces.next("digests") or None for bitmap in (old, new)]
            width //= 2
            left, right = half(first, width), half(first + width, width)
            return [join(left[0], right[0]), join(left[1], right[1])]

        both = half(0, 16)
        both = [node_hash(old, both[0]), node_hash(new, both[1])]
        require(both[0] != both[1], "nothing differs")
        return both

    def one_sided(begin, begin_depth, kinds):
        """One version has nodes here, the other (there) nothing or one leaf, which is told where its path puts it."""
        here = kinds.index(node_)
        there, other = 1 - here, [None]

        def leaf(prefix, depth):
            if pieces.arrays["leaves"] and pieces.arrays["leaves"][0][1 + here] is None and other[0] is None:
                other[0] = take(begin, begin_depth)[there]
            taken = take(prefix, depth)
            require(taken[here] is not None, "a leaf of the wrong version")
            require(taken[there] is None or other[0] is None, "two leaves where one is")
            other[0] = other[0] or taken[there]
            return taken[here]

        def node(prefix, depth):
            nodes = pieces.next("nodes")
            require(nodes[here] is not None and nodes[there] is None and nodes[2] is None, "one node is opened")
            require(depth < 64, "too deep")
            bitmap, leaves = nodes[here]
            is_open = [bitmap >> i & 1 and meets(window, prefix << 4 | i, depth + 1) for i in range(16)]
            require(all(is_open[i] for i in range(16) if leaves >> i & 1), "a leaf in a closed slot")

            def half(first, width):
                if not bitmap >> first & (1 << width) - 1:
                    return None
                if not any(is_open[first:first + width]):
                    return pieces.next("digests")
                if width == 1:
                    below = leaf if leaves >> first & 1 else node
                    return below(prefix << 4 | first, depth + 1)
                width //= 2
                left = half(first, width)
                return join(left, half(first + width, width))

            return node_hash(bitmap, half(0, 16))

        both = [None, None]
        both[here] = node(begin, begin_depth)
        if kinds[there] == leaf_ and other[0] is None:
            taken = take(begin, begin_depth)
            require(taken[here] is None, "a leaf of the wrong version")
            other[0] = taken[there]
        require((other[0] is not None) == (kinds[there] == leaf_), "another number of leaves than said")
        both[there] = other[0]
        return both

    both = place(0, 0, kinds)
    pieces.end()
    require([digest_ or ZERO for digest_ in both] == list(roots), "another root")
    return found


# ── The proofs ───────────────────────────────────────────────────────────────────────────────────────────────────────


def cut(asked, through):
    """The range that is proved, if the proof goes through a certain path only."""
    if through is None:
        return asked
    through = int.from_bytes(through, "big")
    require(asked[0] <= through < asked[1], "the range ends elsewhere")
    return asked[0], through


def multi_proof(data, root, name, keys):
    reader = Reader(data)
    expected = reader.space(root, name)
    found_root, found = partial_tree(reader, [(path(key), path(key)) for key in keys])
    reader.end()
    require(found_root == expected, "another root")
    values = dict(found)
    return [values.get(key) for key in keys]


def range_proof(data, root, name, asked):
    reader = Reader(data)
    expected, through = reader.space(root, name), reader.option(reader.digest)
    proved = cut(asked, through)
    found_root, found = partial_tree(reader, [proved])
    reader.end()
    require(found_root == expected, "another root")
    require(through is None or found and path(found[-1][0]) == proved[1], "the range ends elsewhere")
    return proved, found


def change_proof(data, roots, name, asked):
    reader = Reader(data)
    expected = reader.space(roots[0], name), reader.space(roots[1], name)
    through = reader.option(reader.digest)
    proved = cut(asked, through)
    found = changed_tree(reader, [proved], expected)
    reader.end()
    require(through is None or found and path(found[-1][0]) == proved[1], "the range ends elsewhere")
    return proved, found


def chunk(data, root, name, asked):
    """What a chunk shows: of a space keys and values, without one names and records of spaces."""
    reader = Reader(data)
    of_keys = reader.variant(2) == 1
    require((reader.blob(255) if of_keys else None) == name, "of another space")
    require(reader.range() == asked, "of another range")
    expected = reader.space(root, name) if of_keys else None
    through = reader.option(reader.digest)
    proved = cut(asked, through)
    found_root, found = partial_tree(reader, [proved], Reader.chunk_leaf if of_keys else Reader.listed_space)
    reader.end()
    if not of_keys:
        found_root, expected = digest("tree top", found_root), root
    require(found_root == expected, "another root")
    require(through is None or found and path(found[-1][0]) == proved[1], "the range ends elsewhere")
    return proved, found


def damaged(data):
    """The bytes with one bit flipped, here and there."""
    for place in range(0, len(data), 1 + len(data) // 24):
        yield data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1:]


def check(same):
    """Tells `same` of everything that is made here, with what the file says."""
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "proofs.json")
    with open(here, encoding="utf-8") as file:
        vectors = json.load(file)
    roots = [raw(state["root"]) for state in vectors["states"]]
    for state in vectors["states"]:
        same("root of a state", state_root(state["spaces"]).hex(), state["root"])

    def hashed(value):
        return None if value is None else value_hash(raw(value))

    def ends(range_):
        return int(range_["from"], 16), int(range_["to"], 16)

    def rest(asked, proved):
        return None if proved[1] == asked[1] else (proved[1] + 1, asked[1])

    def refused(what, verify, data):
        for bad in damaged(data):
            try:
                verify(bad)
            except Refused:
                same(f"{what} with a bit flipped", True, True)
            else:
                same(f"{what} with a bit flipped", "taken", "refused")

    for v in vectors["multi"]:
        keys, root, name, data = [raw(k) for k, _ in v["claims"]], roots[v["state"]], raw(v["space"]), raw(v["encoded"])
        same("a multi-proof", multi_proof(data, root, name, keys), [hashed(value) for _, value in v["claims"]])
        refused("a multi-proof", lambda bad: multi_proof(bad, root, name, keys), data)

    for v in vectors["ranges"]:
        asked, root, name, data = ends(v["range"]), roots[v["state"]], raw(v["space"]), raw(v["encoded"])
        proved, found = range_proof(data, root, name, asked)
        same("a range", found, [(raw(key), hashed(value)) for key, value in v["entries"]])
        same("its rest", rest(asked, proved), v["rest"] and ends(v["rest"]))
        refused("a range", lambda bad: range_proof(bad, root, name, asked), data)

    for v in vectors["changes"]:
        asked, both, name, data = ends(v["range"]), [roots[n] for n in v["states"]], raw(v["space"]), raw(v["encoded"])
        proved, found = change_proof(data, both, name, asked)
        same("changes", found, [(raw(key), hashed(old), hashed(new)) for key, old, new in v["changes"]])
        same("their rest", rest(asked, proved), v["rest"] and ends(v["rest"]))
        refused("changes", lambda bad: change_proof(bad, both, name, asked), data)

    for v in vectors["chunks"]:
        asked, root, data = ends(v["range"]), roots[v["state"]], raw(v["encoded"])
        name = None if v["space"] is None else raw(v["space"])
        proved, found = chunk(data, root, name, asked)
        if name is None:
            spaces = [(raw(space), (1, count, raw(root))) for space, count, root in v["spaces"]]
            same("a list of spaces", found, spaces)
        else:
            same("a chunk", found, [(raw(key), raw(value)) for key, value in v["entries"]])
        same("its rest", rest(asked, proved), v["rest"] and ends(v["rest"]))
        refused("a chunk", lambda bad: chunk(bad, root, name, asked), data)
