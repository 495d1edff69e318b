"""The fake accuracy job for engines that cannot run without a GPU: all are as accurate as their checkpoint."""

import sys

import fake_jobs

fake_jobs.Behaviour.load = staticmethod(lambda path: fake_jobs.Behaviour(drop={}))

if __name__ == "__main__":
    sys.exit(fake_jobs.main())
