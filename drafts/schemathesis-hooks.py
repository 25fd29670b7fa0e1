"""Many users from many addresses, and real ids half of the time."""
import json, os, random, secrets, threading, time, urllib.request

import schemathesis

URL = os.environ["KLATSCH_URL"]
PASSWORD = "a password of schemathesis"
LOCK = threading.Lock()
RNG = random.SystemRandom()


def address():
    return f"10.{RNG.randrange(256)}.{RNG.randrange(256)}.{RNG.randrange(1, 255)}"


def call(method, path, body=None, token=None):
    request = urllib.request.Request(URL + path, method=method, data=None if body is None else json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    request.add_header("X-Forwarded-For", address())
    if token:
        request.add_header("Authorization", "Bearer " + token)
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read() or b"null")


def uuid7():
    ms = int(time.time() * 1000)
    raw = bytearray(ms.to_bytes(6, "big") + secrets.token_bytes(10))
    raw[6] = raw[6] & 0x0F | 0x70
    raw[8] = raw[8] & 0x3F | 0x80
    h = raw.hex()
    return "-".join([h[:8], h[8:12], h[12:16], h[16:20], h[20:]])


class World:
    def __init__(self):
        self.users, self.rooms = [], []
        for _ in range(12):
            self.user()
        for owner in self.users[:6]:
            others = [u["id"] for u in self.users if u is not owner][:8]
            made = call("POST", "/v1/conversations", {"id": uuid7(), "kind": "group", "title": "st", "members": others}, owner["token"])
            ids = []
            for n in range(10):
                ids.append(uuid7())
                call("POST", f"/v1/conversations/{made['conversation']}/messages", {"id": ids[-1], "body": f"message {n}"}, owner["token"])
            self.rooms.append({"id": made["conversation"], "messages": ids, "owner": owner})

    def user(self):
        name = "st" + secrets.token_hex(6)
        body = {"name": name, "password": PASSWORD}
        made = call("POST", "/v1/users", body)
        user = {"id": made["id"], "name": name}
        self.sign_in(user)
        self.users.append(user)

    def sign_in(self, user):
        user["token"] = call("POST", "/v1/sessions", {"name": user["name"], "password": PASSWORD})["access_token"]
        user["at"] = time.time()

    def token(self, user):
        with LOCK:
            if time.time() - user["at"] > 600:
                self.sign_in(user)
            return user["token"]


WORLD = World()
ENDING = ("signOut", "endSession", "endOtherSessions", "changePassword", "refresh")


def id_of(case):
    return case.operation.definition.raw.get("operationId")


@schemathesis.auth()
class Auth:
    def get(self, case, ctx):
        if id_of(case) in ENDING:
            with LOCK:
                if len(WORLD.users) < 200:
                    WORLD.user()
                user = WORLD.users[-1]
            return WORLD.token(user)
        return WORLD.token(RNG.choice(WORLD.users[:12]))

    def set(self, case, data, ctx):
        case.headers = case.headers or {}
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def before_call(context, case, kwargs):
    case.headers = case.headers or {}
    case.headers["X-Forwarded-For"] = address()
    mode = getattr(getattr(case, "meta", None), "generation", None)
    mode = getattr(mode, "mode", None)
    if mode is not None and "POSITIVE" in str(mode).upper() and RNG.random() < 0.7:
        room = RNG.choice(WORLD.rooms)
        parameters = case.path_parameters or {}
        if "conversation" in parameters:
            parameters["conversation"] = room["id"]
        if "message" in parameters:
            parameters["message"] = RNG.choice(room["messages"])
        if "user" in parameters:
            parameters["user"] = RNG.choice(WORLD.users[:12])["id"]
        # An id of one's own is new each time, as the document asks.
        if isinstance(case.body, dict) and "id" in case.body:
            case.body["id"] = uuid7()
        if case.query and "id" in case.query:
            case.query["id"] = uuid7()
