"""How a controller is declared (`declare`, `actions`), and the shells that run all of them.

`controller` runs those that reconcile one resource, `graph` the garbage collector, `runtime` owns both.
"""
