# What a target need not say. A target is a file of POSIX shell functions, read after this one:
#
#   available            prints the version; otherwise says on standard error what is missing and returns 3
#   setup                prepares $TORTURE_DIR, an empty directory: everything of the target belongs there
#   create COMMAND...    makes a sandbox that runs COMMAND, called $TORTURE_NAME if it can be called anything; runs in
#                        the owner's own shell and leaves in $sandbox what `stop` and `enter` are given
#   leave                what a careful owner does on its own way out
#   stop SANDBOX         ends a sandbox and waits until it is gone; of one that is gone it is no error
#   enter SANDBOX CMD... runs a command in it
#   list                 prints the names of all, one per line
#   helpers              prints the ids of the processes that the target needs to keep its sandboxes
#   directories          prints the directories in which it keeps files of single sandboxes
#   rest                 ends helpers that only wait for more work, but no sandbox
#   clean                ends and removes everything
#
# $TORTURE_EBB is the `ebb` that runs the suite.

# How long the suite waits by default after an event until everything is gone, in seconds.
GRACE=10
# How long it watches what must live on.
HOLD=5
# Whether the target takes the empty cgroup v2 tree of a hybrid host for its own, and so has to be run without it.
HIDE_EMPTY_CGROUP2=0

leave() { :; }
enter() { return 126; }
list() { :; }
helpers() { :; }
directories() { :; }
rest() { :; }
clean() { :; }
