"""Azure on loopback, for the demo and the tests. Never deployed.

:class:`sandbox.server.Sandbox` answers the real SDK clients over TLS on 127.0.0.1: managed-identity tokens, Log
Analytics queries (real KQL over a workspace's rows), the Automation API, Logs Ingestion and Sentinel's incidents,
beside a Teams workflow and a signed webhook that keep what they received. Faults are set per endpoint; a scenario
plays an attack or an ordinary day.
"""
