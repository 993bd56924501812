"""
What Bedrock and SageMaker do whose cost no reply tells: agents, knowledge bases, jobs, guardrails, endpoints.

Names and paths are those of botocore's service models (1.43.117).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ...calls import UNKNOWN_HOST, Call, Endpoint, Host
from ..common.bodies import fields, text
from .models import name_of

_RUNTIME = "bedrock-runtime"
_AGENTS = "bedrock-agent-runtime"

_GATES = (
    (_RUNTIME, "ApplyGuardrail", "/guardrail/{id}/version/{id}/apply"),
    (_RUNTIME, "InvokeGuardrailChecks", "/guardrail-checks/invoke"),
    (_RUNTIME, "InvokeModelWithBidirectionalStream", "/{id}/invoke-with-bidirectional-stream"),
    (_RUNTIME, "StartAsyncInvoke", "/async-invoke"),
    (_AGENTS, "AgenticRetrieveStream", "/agenticRetrieveStream"),
    (_AGENTS, "GenerateQuery", "/generateQuery"),
    (_AGENTS, "InvokeAgent", "/agents/{id}/agentAliases/{id}/sessions/{id}/text"),
    (_AGENTS, "InvokeFlow", "/flows/{id}/aliases/{id}"),
    (_AGENTS, "InvokeInlineAgent", "/agents/{id}"),
    (_AGENTS, "OptimizePrompt", "/optimize-prompt"),
    (_AGENTS, "Rerank", "/rerank"),
    (_AGENTS, "Retrieve", "/knowledgebases/{id}/retrieve"),
    (_AGENTS, "RetrieveAndGenerate", "/retrieveAndGenerate"),
    (_AGENTS, "RetrieveAndGenerateStream", "/retrieveAndGenerateStream"),
    (_AGENTS, "StartFlowExecution", "/flows/{id}/aliases/{id}/executions"),
    ("bedrock", "CreateAdvancedPromptOptimizationJob", "/advanced-prompt-optimization-jobs"),
    ("bedrock", "CreateCustomModelDeployment", "/model-customization/custom-model-deployments"),
    ("bedrock", "CreateEvaluationJob", "/evaluation-jobs"),
    ("bedrock", "CreateMarketplaceModelEndpoint", "/marketplace-model/endpoints"),
    ("bedrock", "CreateModelCustomizationJob", "/model-customization-jobs"),
    ("bedrock", "CreateModelInvocationJob", "/model-invocation-job"),
    ("bedrock", "CreateProvisionedModelThroughput", "/provisioned-model-throughput"),
    ("bedrock-agentcore", "Evaluate", "/evaluations/evaluate/{id}"),
    ("bedrock-agentcore", "InvokeAgentRuntime", "/runtimes/{id}/invocations"),
    ("bedrock-agentcore", "InvokeHarness", "/harnesses/invoke"),
    ("bedrock-agentcore", "StartBatchEvaluation", "/evaluations/batch-evaluate"),
    ("sagemaker-runtime", "InvokeEndpoint", "/endpoints/{id}/invocations"),
    ("sagemaker-runtime", "InvokeEndpointAsync", "/endpoints/{id}/async-invocations"),
    ("sagemaker-runtime", "InvokeEndpointWithResponseStream", "/endpoints/{id}/invocations-response-stream"),
)

_MODELS = ("modelId", "foundationModel", "baseModelIdentifier", "targetModelId", "modelArn", "EndpointName")


def job(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """What is done later, or elsewhere: the model that it names."""
    body = fields(body)
    named = (text(body, name) for name in _MODELS)
    return Call(model=name_of(next(filter(None, named), "")), unknown_input=True)


GATES: Final[Mapping[str, Mapping[str, Endpoint]]] = {
    service: {
        operation: Endpoint(f"{service}.{operation}", "POST", path.lower(), request=job, opaque=True)
        for its, operation, path in _GATES
        if its == service
    }
    for service in dict.fromkeys(service for service, _, _ in _GATES)
}
"""By service and operation."""
