session = aviato.Session(container_image="python:3.11")
sandbox = session.sandbox()
# ...
session.close().result()  # Stops all sandboxes
