"""What a server counts, and `/metrics`, which shows it in Prometheus' text form.

Nothing is registered and nothing is looked up while requests are served: who counts holds plain numbers, and gives them
as `Family` when somebody asks.
"""
