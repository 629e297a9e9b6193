# podman with everything of its own below one directory, from a script that removes its container on its way out.
HIDE_EMPTY_CGROUP2=1
podman="podman --root $TORTURE_DIR/storage --runroot $TORTURE_DIR/run --tmpdir $TORTURE_DIR/tmp --cgroup-manager cgroupfs
    --runtime crun --log-level error"

available() {
    command -v crun >/dev/null || { echo "podman is run with crun, which is not installed" >&2; return 3; }
    podman --version
}

setup() {
    mkdir "$TORTURE_DIR/rootfs"
    for name in usr proc dev sys tmp etc run; do mkdir "$TORTURE_DIR/rootfs/$name"; done
    for name in bin sbin lib lib64; do ln -s "usr/$name" "$TORTURE_DIR/rootfs/$name"; done
}

create() {
    sandbox=$TORTURE_NAME
    $podman run --detach --name "$sandbox" --network none --pids-limit 256 --memory 256m --log-driver k8s-file \
        --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --volume /usr:/usr:ro --tmpfs /tmp \
        --rootfs "$TORTURE_DIR/rootfs" "$@" >"$TORTURE_DIR/$sandbox.out" 2>&1 </dev/null
}

stop() { $podman rm --force --ignore --time 1 "$1"; }

leave() { stop "$sandbox"; }

enter() {
    name=$1
    shift
    $podman exec "$name" "$@"
}

list() { $podman ps --format '{{.Names}}'; }

# One conmon per container.
helpers() { pgrep -f "^[^ ]*conmon .*$TORTURE_DIR/"; }

directories() { printf '%s\n' "$TORTURE_DIR/run" "$TORTURE_DIR/storage/overlay-containers"; }

clean() {
    $podman rm --all --force --time 0
    rmdir /sys/fs/cgroup/*/libpod_parent/conmon /sys/fs/cgroup/*/libpod_parent 2>/dev/null
    mountpoint -q /sys/fs/cgroup/unified || rm -rf /sys/fs/cgroup/unified/libpod_parent
}
