"""Amazon Bedrock through boto3: `patch()` guards every client, Converse and InvokeModel, plain and streamed."""

import json

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager
from budgetguard.testing import FakeProvider

# To run without an account and a network, the answers come from a provider on loopback. With credentials, leave these
# lines out, and make the client as you always do: boto3.client("bedrock-runtime").
provider = FakeProvider().start()
client = provider.bedrock()
# ---------------------------------------------------------------------------------------------------------------
manager = BudgetManager("shop", store="memory://", budgets=[Budget("all", 0.002)])
budgetguard.patch(manager)

CLAUDE, LLAMA = "us.anthropic.claude-haiku-4-5-20251001-v1:0", "meta.llama3-8b-instruct-v1:0"
messages = [{"role": "user", "content": [{"text": "What is money?"}]}]
cap = {"maxTokens": 100}

reply = client.converse(modelId=CLAUDE, messages=messages, inferenceConfig=cap)
print("Converse:", reply["output"]["message"]["content"][0]["text"])

stream = client.converse_stream(modelId=CLAUDE, messages=messages, inferenceConfig=cap)["stream"]
pieces = [event["contentBlockDelta"]["delta"]["text"] for event in stream if "contentBlockDelta" in event]
print("streamed:", "".join(pieces))

said = client.invoke_model(modelId=LLAMA, body=json.dumps({"prompt": "What is money?", "max_gen_len": 100}))
print("InvokeModel:", json.loads(said["body"].read())["generation"])
print(f"spent: ${sum(entry.cost for entry in manager.store.entries()) / 1e9:.7f}")

try:
    client.converse(modelId=CLAUDE, messages=messages, inferenceConfig={"maxTokens": 1_000})
except BudgetExceededError as error:
    print("refused before anything was sent:", error)
