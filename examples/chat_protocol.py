"""Keep what a connection receives in an object of your own: callbacks stay inside the class.

`ChatProtocol` collects the messages of a chat and reflects bytes; whoever holds it calls `post`, and reads `messages`
whenever it wants to. Needs nothing but wsrpc. Takes a moment, and prints what the object has after each step.
"""

import json
import socketserver
import threading
import time

from wsproto import ConnectionType, WSConnection, events
from wsproto.connection import ConnectionState

from wsrpc import WebSocket


class ChatProtocol(WebSocket):
    def __init__(self, url):
        super().__init__(url)
        # store an array of messages
        self.messages = []

    def onmessage(self, m):
        # if string, add to internal variable
        if isinstance(m, str):
            self.messages.append(json.loads(m)["data"])
        # if bytes, reflect payload
        else:
            self.send(m)

    def post(self, message):
        self.send(json.dumps(dict(type="message", data=message)))  # noqa: C408


class Endpoint(socketserver.BaseRequestHandler):
    """What the chat talks to; yours is somewhere else. It sends text back as it came, and says which bytes it got."""

    def handle(self):
        connection = WSConnection(ConnectionType.SERVER)
        # After the closing handshake it is the server's part to end the TCP connection: by returning.
        while connection.state is not ConnectionState.CLOSED and (data := self.request.recv(65536)):
            connection.receive_data(data)
            for event in connection.events():
                for answer in self.answers(event):
                    self.request.sendall(connection.send(answer))

    def answers(self, event):
        if isinstance(event, events.Request):
            return [events.AcceptConnection(), events.BytesMessage(b"are you there?")]
        if isinstance(event, events.TextMessage):
            return [event]
        if isinstance(event, events.BytesMessage):
            note = {"type": "message", "data": f"the endpoint has its bytes back: {bytes(event.data)}"}
            return [events.TextMessage(json.dumps(note))]
        if isinstance(event, events.Ping | events.CloseConnection):
            return [event.response()]
        return []


def wait_for(count, messages):
    """In a notebook you look again when you like; a script has to wait until there is something to see."""
    deadline = time.monotonic() + 10
    while len(messages) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(messages)} of {count} messages came within 10 s: {messages}")
        time.sleep(0.01)


with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Endpoint) as endpoint:  # port 0: one that is free
    threading.Thread(target=endpoint.serve_forever).start()
    try:
        # Leaving the block closes the connection.
        with ChatProtocol(f"ws://127.0.0.1:{endpoint.server_address[1]}") as chat:
            # Nobody asked for this message: the endpoint sent bytes, and onmessage has reflected them already.
            wait_for(1, chat.messages)
            print("before any post:", chat.messages)

            chat.post("hello, this is ann")
            chat.post("is bob here?")
            wait_for(3, chat.messages)
            print("after two posts:", chat.messages)
    finally:
        endpoint.shutdown()
