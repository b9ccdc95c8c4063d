from switchtower import UserRequest


def test_answer(line):
    job = line.client.submit(UserRequest(prompt="hello there"))
    assert line.client.result(job, timeout=20).text == "hello there", line.logs()
