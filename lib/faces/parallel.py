"""Work on several processors, in order and without piling up results."""

import multiprocessing
from collections import deque
from concurrent.futures import ProcessPoolExecutor

from threadpoolctl import threadpool_limits

from lib.errors import InputError


def map_in_order(function, tasks, processes=2, ahead=2):
    """Apply a function to tasks in worker processes and yield the results in their order.

    At most ``processes * ahead`` results exist at a time, however slow the one who takes them is,
    so that memory does not grow with the number of tasks. Workers are started afresh (not forked),
    which is safe beside TensorFlow; the function must be importable.

    Parameters
    ----------
    function : callable
        Of one argument.
    tasks : iterable
    processes : int
        1 works in this process.
    ahead : int
        Tasks in hand per process.

    Yields
    ------
    result of each task, in the order of the tasks
    """
    if not (isinstance(processes, int) and processes >= 1):
        raise InputError(f"processes is {processes!r}: give a whole number from 1 on.")
    if processes == 1:
        yield from map(function, tasks)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, threadpool_limits, (1,))
    waiting = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) >= processes * ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
