# crun with a bundle over the host's /usr, from a script that removes its container on its way out.
HIDE_EMPTY_CGROUP2=1
crun="crun --root $TORTURE_DIR/state"

available() { crun --version | head -n 1; }

setup() {
    mkdir "$TORTURE_DIR/state" "$TORTURE_DIR/rootfs" "$TORTURE_DIR/bundles"
    for name in usr proc dev sys tmp; do mkdir "$TORTURE_DIR/rootfs/$name"; done
    for name in bin sbin lib lib64; do ln -s "usr/$name" "$TORTURE_DIR/rootfs/$name"; done
}

# As a string of JSON.
quoted() { printf '"%s"' "$(printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g' | tr '\n' ' ')"; }

create() {
    sandbox=$TORTURE_NAME
    bundle=$TORTURE_DIR/bundles/$sandbox
    mkdir "$bundle"
    words=
    for word in "$@"; do words=$words${words:+,}$(quoted "$word"); done
    cat >"$bundle/config.json" <<END
{"ociVersion": "1.0.2",
 "process": {"terminal": false, "user": {"uid": 0, "gid": 0}, "args": [$words],
             "env": ["PATH=/usr/bin:/bin"], "cwd": "/", "noNewPrivileges": true},
 "root": {"path": "$TORTURE_DIR/rootfs", "readonly": true},
 "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["size=65536k"]},
            {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["bind", "ro"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}],
 "linux": {"cgroupsPath": "/torture/$sandbox",
           "resources": {"memory": {"limit": 268435456}, "pids": {"limit": 256}},
           "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
                          {"type": "mount"}, {"type": "cgroup"}]}}
END
    $crun run --detach --bundle "$bundle" "$sandbox" >"$TORTURE_DIR/$sandbox.log" 2>&1 </dev/null
}

stop() {
    $crun kill "$1" TERM 2>/dev/null
    for _ in $(seq 10); do
        $crun list --quiet | grep -qx "$1" && [ "$($crun state "$1" | grep -c '"running"')" = 1 ] || break
        sleep 0.1
    done
    $crun delete --force "$1" || return
    rm -rf "$TORTURE_DIR/bundles/$1"
}

leave() { stop "$sandbox"; }

enter() {
    name=$1
    shift
    $crun exec "$name" "$@"
}

list() { $crun list --quiet; }

directories() { printf '%s\n' "$TORTURE_DIR/state" "$TORTURE_DIR/bundles"; }

clean() {
    for name in $($crun list --quiet); do $crun delete --force "$name"; done
    rmdir /sys/fs/cgroup/*/torture /sys/fs/cgroup/torture 2>/dev/null
    # Where the empty tree of version 2 is hidden, crun has made directories in its place.
    mountpoint -q /sys/fs/cgroup/unified || rm -rf /sys/fs/cgroup/unified/torture
}
