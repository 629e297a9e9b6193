# Ebbtide by its command line: a sandbox is tied to the shell that makes it. The owner's grace is two seconds.
GRACE=15
export EBBTIDE_HOME="$TORTURE_DIR/home"
unset EBBTIDE_URL EBBTIDE_API_KEY

available() { "$TORTURE_EBB" --version; }

setup() {
    mkdir -m 700 "$EBBTIDE_HOME"
    printf '[limits]\nowner_grace_seconds = 2\n' >"$EBBTIDE_HOME/ebbtide.toml"
}

create() { sandbox=$("$TORTURE_EBB" create --owner $$ --tag "$TORTURE_NAME" -- "$@" 2>"$TORTURE_DIR/$TORTURE_NAME.err"); }

stop() { "$TORTURE_EBB" stop --grace 1 "$1"; }

enter() {
    name=$1
    shift
    "$TORTURE_EBB" exec "$name" -- "$@"
}

list() { "$TORTURE_EBB" list | sed 1d | cut -d' ' -f1; }

processes() {
    for pid in $(pgrep -x "$1"); do
        tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q " $(cat "$EBBTIDE_HOME/id") " && echo "$pid"
    done
}

# One that was killed has left its number in the file, and another process may have it by now.
daemon() {
    pid=$(cat "$EBBTIDE_HOME/daemon.lock")
    tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q '^[^ ]* serve ' && echo "$pid"
}

helpers() {
    daemon
    processes ebb-launcher
}

directories() { echo "/run/ebbtide/$(cat "$EBBTIDE_HOME/id")"; }

# A launcher that holds no sandbox goes five seconds after its daemon, and what it keeps ready ten after it.
rest() {
    for pid in $(daemon); do kill -TERM "$pid"; done
    for _ in $(seq 180); do
        [ -n "$(processes ebb-launcher)$(processes ebb-init)" ] || return 0
        sleep 0.1
    done
}

clean() { "$TORTURE_EBB" shutdown; }
