"""The load client: one event, many RANDOM reservations at once, and a check that no seat was sold twice.

`command` reads the options, `run` is the parent process, `driver` a worker process, `transport` HTTP over libcurl,
`workload` what is asked, `replies` what came back, `checks` whether it is right, `verdict` what it
comes to, `report` how fast it was.
"""
