"""Managers in contexts, the default of the process for plain threads, and a scope that is taken into a pool."""

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

from openai import OpenAI

import budgetguard
from budgetguard import BudgetManager, carry_scope
from budgetguard.testing import FakeProvider

# To run without a key and a network, the answers come from a provider on loopback. With a key, leave these lines out.
provider = FakeProvider().start()
os.environ.update(OPENAI_BASE_URL=provider.base_url, OPENAI_API_KEY="none")
# ---------------------------------------------------------------------------------------------------------------
shop, blog = (BudgetManager(project_name=name, store="memory://") for name in ("shop", "blog"))
for manager in (shop, blog):
    manager.create_budget(total_budget=1, user="ann")
client = OpenAI()


def ask(question, **arguments):
    messages = [{"role": "user", "content": question}]
    return client.chat.completions.create(model="gpt-4", messages=messages, **arguments)


def show(what):
    print(f"{what}: shop {shop.get_current_cost('ann')}, blog {blog.get_current_cost('ann')}")


budgetguard.patch(shop)  # the default of the process
with budgetguard.budget(user="ann"):
    with blog:  # the manager here, and only here
        ask("Good morning")
    show("in a context")

# A plain thread begins with an empty context: the default manager holds, and the request itself names the user.
thread = Thread(target=ask, args=("Good morning",), kwargs={"user": "ann"})
thread.start()
thread.join()
show("in a thread")

# carry_scope takes the manager, the user and the limits along.
with ThreadPoolExecutor() as pool, blog, budgetguard.budget(user="ann", limit=0.10) as batch:
    for answer in pool.map(carry_scope(ask), ["Good morning", "Good evening", "Good night"]):
        print(answer.choices[0].message.content)
    print("the batch spent", batch.spent)
show("in a pool")
