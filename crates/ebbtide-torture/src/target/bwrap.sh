# bubblewrap as its manual page recommends it for a sandbox that is not to outlive its caller.
available() { bwrap --version; }

setup() { :; }

create() {
    bwrap --unshare-all --die-with-parent --new-session \
        --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/sbin /sbin --symlink usr/lib /lib \
        --symlink usr/lib64 /lib64 --proc /proc --dev /dev --tmpfs /tmp \
        --clearenv --setenv PATH /usr/bin:/bin \
        -- "$@" >"$TORTURE_DIR/$TORTURE_NAME.log" 2>&1 </dev/null &
    sandbox=$!
    echo "$sandbox" >"$TORTURE_DIR/$TORTURE_NAME.pid"
}

# A process id is all that there is to go by, and another process may have it by now. The owner's shell reaps it later.
gone() { ! { grep -qx bwrap "/proc/$1/comm" && grep -q '^State:.[^ZX]' "/proc/$1/status"; } 2>/dev/null; }

stop() {
    gone "$1" || kill -TERM "$1"
    for _ in $(seq 20); do
        gone "$1" && return 0
        sleep 0.1
    done
    kill -KILL "$1"
}

helpers() {
    for pid in $(cat "$TORTURE_DIR"/*.pid); do
        gone "$pid" || echo "$pid"
    done
}
