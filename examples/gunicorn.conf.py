# gunicorn with asgiserve's workers; it finds this file in the directory in which it is started:
#
#     gunicorn example:app

worker_class = "asgiserve.workers.AsgiserveWorker"
bind = ["127.0.0.1:8000"]
workers = 4
# Seconds of a blocked event loop after which a worker is replaced.
timeout = 30
# Seconds that running requests and the application's shutdown code get.
graceful_timeout = 30
# More than the seconds for which the proxy in front keeps idle connections.
keepalive = 75
# A new worker after so many requests, give or take.
max_requests = 100_000
max_requests_jitter = 10_000
accesslog = "-"
