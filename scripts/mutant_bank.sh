# Sourced by what runs a bank of seeded bugs: patches of a copy of the tree, each of which a test must
# find. Needs `root`, and `folder`, where the copy goes.

bank_all=0 bank_killed=0 bank_changed=

# Copies the tree: once to be patched, once as it is. Only what differs from an earlier copy gets a
# new time, so that cargo builds just that.
bank_open() {
    rm -rf "$folder/whole"
    mkdir -p "$folder/whole" "$folder/tree"
    (cd "$root" && git ls-files -z | tar --null -T - -cf -) | (cd "$folder/whole" && tar -xf -)
    (cd "$folder/whole" && find . -type f) | while read -r file; do
        cmp -s "$folder/whole/$file" "$folder/tree/$file" && continue
        mkdir -p "$folder/tree/${file%/*}"
        cp "$folder/whole/$file" "$folder/tree/$file"
        touch "$folder/tree/$file"
    done
    (cd "$folder/tree" && find . -type f) | while read -r file; do
        [ -e "$folder/whole/$file" ] || rm "$folder/tree/$file"
    done
}

# The patches of folder $1 whose names contain one of the words behind it, if there are any; those
# of the same file behind each other, which spares builds.
bank_patches() {
    patches=$1; shift
    for patch in "$patches"/*.patch; do
        name=$(basename "$patch" .patch)
        if [ $# -gt 0 ]; then
            wanted=
            for word; do case "$name" in *"$word"*) wanted=1 ;; esac; done
            [ -n "$wanted" ] || continue
        fi
        printf '%s %s\n' "$(sed -n 's/^--- a\///p' "$patch" | head -n 1)" "$patch"
    done | sort | sed 's/^[^ ]* //'
}

# Makes the copy whole again, with times that let cargo see it.
bank_restore() {
    for file in $bank_changed; do
        cp "$folder/whole/$file" "$folder/tree/$file"
        touch "$folder/tree/$file"
    done
    bank_changed=
}

# Applies patch $1 alone; where it does not apply, the copy is whole.
bank_apply() {
    bank_restore
    name=$(basename "$1" .patch)
    bank_all=$((bank_all + 1))
    if ! (cd "$folder/tree" && patch -s -p1 --dry-run <"$1") >"$folder/log" 2>&1; then
        cat "$folder/log"
        echo "ERROR     $name does not apply"
        return 1
    fi
    bank_changed=$(sed -n 's/^--- a\///p' "$1")
    (cd "$folder/tree" && patch -s -p1 --no-backup-if-mismatch <"$1")
}

# Says that $1 has killed the mutant.
bank_kill() {
    bank_killed=$((bank_killed + 1))
    echo "killed    $name by $1"
}

# Says that nothing has killed the mutant of patch $1.
bank_survived() {
    echo "SURVIVED  $name: $(head -n 1 "$1")"
}

# The last line; fails unless all were killed.
bank_close() {
    echo "$bank_killed of $bank_all killed"
    [ "$bank_killed" -eq "$bank_all" ]
}
