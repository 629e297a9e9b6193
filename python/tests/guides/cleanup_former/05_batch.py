from aviato import get

sandboxes = [Sandbox.run() for _ in range(5)]
# ... use sandboxes ...
get([sb.stop() for sb in sandboxes])  # Stop all in parallel
