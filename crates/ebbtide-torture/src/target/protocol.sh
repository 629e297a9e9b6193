# Any server of coreweave.sandbox.v1, at EBBTIDE_URL with EBBTIDE_API_KEY, by the protocol alone: nothing tells it who
# the owner is. The server must run on this machine, or there is nothing to look at.
call() { "$TORTURE_EBB" internal-torture-call "$@"; }

available() { call available; }

setup() { :; }

create() { sandbox=$(call create "$TORTURE_NAME" "$@"); }

stop() { call stop "$1"; }

leave() { stop "$sandbox"; }

enter() { call enter "$@"; }

list() { call list; }

clean() {
    # Those with the tag of this suite only.
    call purge
}
