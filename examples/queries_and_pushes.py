"""Queries and pushes side by side on one connection: ask whenever you like, and no push is lost or in the way.

A sensor pushes its temperature all the time, and answers questions. Needs nothing but wsrpc. Takes a second.
"""

import threading
import time
from itertools import count, islice

import wsrpc

# The endpoint. Yours is somewhere else; this one runs in the background of the same process.

server = wsrpc.Server("127.0.0.1", 0)  # port 0: one that is free
stopping = threading.Event()


@server.method
def to_fahrenheit(celsius):
    return celsius * 9 / 5 + 32


@server.method
def calibrate():
    time.sleep(0.3)  # some answers take their time; pushes go on meanwhile
    return "the offset is 0.5 degrees"


def measure():
    for number in count():
        if stopping.wait(0.02):
            return
        server.publish("temperature", 20 + number % 5)


sensor = threading.Thread(target=measure, daemon=True)  # should something fail below, the script still ends

# The client.

with server, wsrpc.Client(server.url) as client, client.subscribe("temperature") as temperatures:
    sensor.start()

    # Pushes are taken one by one, and a query may be asked in between: its answer never mixes with them.
    for celsius in islice(temperatures, 5):
        fahrenheit = client.query("to_fahrenheit", [celsius])
        print(f"pushed: {celsius} degrees Celsius; asked: that is {fahrenheit} degrees Fahrenheit")

    # A slow query blocks this line and nothing else: what is pushed meanwhile waits in the subscription.
    before = temperatures.received
    answer = client.query("calibrate")
    print(f"asked: {answer}; {temperatures.received - before} temperatures were pushed meanwhile")

    # An error answer is an exception, here and now, whatever else is going on.
    try:
        client.query("to_fahrenheit", ["warm", "today"])
    except wsrpc.RemoteError as error:
        print("asked wrongly:", error.message)

    print(f"still waiting to be read: {temperatures.pending}; dropped: {temperatures.dropped}")

    stopping.set()
    sensor.join()
