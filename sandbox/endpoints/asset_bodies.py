"""The bodies of what an account holds for its runbooks: modules, packages, environments, secrets.

As Microsoft's examples of api-version 2024-10-23 show them. The API tells the value of a variable that is not
encrypted, the fields of a connection, the user name of a credential and the thumbprint of a certificate; a reader that
must keep none of them has to leave them out itself.
"""

from collections.abc import Callable, Mapping

from sandbox.accounts import Account, Item
from sandbox.endpoints.automation_bodies import YEAR, Body, reference, time_text, times


def module_summary(kind: str) -> Callable[[Account, Item], Body]:
    """The body of a module or account-wide package in a list; *kind* is its resource type in a URL."""

    def summary(account: Account, module: Item) -> Body:
        return {
            "id": f"{account.id}/{kind}/{module.name}",
            "name": module.name,
            "location": account.location,
            "properties": {
                "isGlobal": module.get("isGlobal", False),
                "version": module.get("version"),
                "sizeInBytes": module.get("sizeInBytes", 0),
                "activityCount": module.get("activityCount", 0),
                **times(module),
                "provisioningState": module.get("provisioningState", "Succeeded"),
                # The published lists of packages tell it, that of modules does not.
                **({} if kind == "modules" else {"isComposite": module.get("isComposite", False)}),
            },
        }

    return summary


def module_body(kind: str) -> Callable[[Account, Item], Body]:
    """The body of a module or account-wide package by itself."""
    listed = module_summary(kind)

    def single(account: Account, module: Item) -> Body:
        body = listed(account, module)
        body |= {
            "type": f"Microsoft.Automation/AutomationAccounts/{kind[0].upper()}{kind[1:]}",
            "tags": {},
            "etag": None,
        }
        body["properties"] |= {
            "error": {"code": None, "message": ""},
            "isComposite": module.get("isComposite", False),
        }
        return body

    return single


def _system_times(item: Item) -> Body:
    # Without authors: so the published examples of runtime environments and their packages.
    return {"createdAt": time_text(item.created), "lastModifiedAt": time_text(item.modified)}


def runtime_environment_body(account: Account, environment: Item) -> Body:
    """A runtime environment, in a list or by itself."""
    return {
        "name": environment.name,
        "id": f"{account.id}/runtimeEnvironments/{environment.name}",
        "type": "Microsoft.Automation/automationAccounts/runtimeEnvironments",
        "location": account.location,
        "tags": {},
        "systemData": _system_times(environment),
        "properties": {
            "runtime": {
                "language": environment.get("language", "PowerShell"),
                "version": environment.get("version", "7.4"),
            },
            "defaultPackages": environment.get("defaultPackages", {}),
            "description": environment.get("description", ""),
        },
    }


def package_body(account: Account, environment: Item, package: Item) -> Body:
    """A package of a runtime environment, in a list or by itself."""
    return {
        "id": f"{account.id}/runtimeEnvironments/{environment.name}/packages/{package.name}",
        "name": package.name,
        "type": "Microsoft.Automation/automationAccounts/runtimeEnvironments/packages",
        "location": account.location,
        "tags": {},
        "properties": {
            "default": package.get("default", False),
            "version": package.get("version"),
            "sizeInBytes": package.get("sizeInBytes", 0),
            "error": {"code": None, "message": ""},
            "provisioningState": package.get("provisioningState", "Succeeded"),
        },
        "systemData": _system_times(package),
    }


def source_control_body(account: Account, source: Item) -> Body:
    """A source control, in a list or by itself. Its id has another case than its URL, as published."""
    return {
        "id": f"{account.id}/sourcecontrols/{source.name}",
        "name": source.name,
        "properties": {
            **times(source),
            "repoUrl": source.get("repoUrl"),
            "branch": source.get("branch", "main"),
            "folderPath": source.get("folderPath", "/"),
            "autoSync": source.get("autoSync", False),
            "publishRunbook": source.get("publishRunbook", True),
            "sourceType": source.get("sourceType", "GitHub"),
            "description": source.get("description", ""),
        },
    }


def credential_body(account: Account, credential: Item) -> Body:
    """A credential, in a list or by itself."""
    return {
        "name": credential.name,
        "id": f"{account.id}/credentials/{credential.name}",
        "properties": {
            "description": credential.get("description"),
            **times(credential),
            "userName": credential.get("userName"),
        },
    }


def certificate_body(account: Account, certificate: Item) -> Body:
    """A certificate, in a list or by itself."""
    return {
        "name": certificate.name,
        "id": f"{account.id}/certificates/{certificate.name}",
        "properties": {
            "description": certificate.get("description"),
            **times(certificate),
            "expiryTime": certificate.get("expiryTime", time_text(certificate.created + YEAR)),
            "isExportable": certificate.get("isExportable", False),
            "thumbprint": certificate.get("thumbprint"),
        },
    }


def connection_summary(account: Account, connection: Item) -> Body:
    """A connection in a list: without the values of its fields and its description."""
    return {
        "name": connection.name,
        "id": f"{account.id}/connections/{connection.name}",
        "properties": {
            "description": None,
            "connectionType": reference(connection.get("connectionType", "Azure")),
            "fieldDefinitionValues": None,
            **times(connection),
        },
    }


def connection_body(account: Account, connection: Item) -> Body:
    """A connection by itself."""
    body = connection_summary(account, connection)
    body["properties"] |= {
        "description": connection.get("description"),
        "fieldDefinitionValues": connection.get("fieldDefinitionValues", {}),
    }
    return body


def variable_body(account: Account, variable: Item) -> Body:
    """A variable, in a list or by itself. The value of an encrypted one is told to nobody."""
    encrypted = variable.get("isEncrypted", False)
    return {
        "id": f"{account.id}/variables/{variable.name}",
        "name": variable.name,
        "properties": {
            **times(variable),
            "isEncrypted": encrypted,
            "value": None if encrypted else variable.get("value"),
            "description": variable.get("description"),
        },
    }


BODIES: Mapping[str, tuple[Callable[[Account, Item], Body], Callable[[Account, Item], Body]]] = {
    # kind: (by itself, in a list)
    **{kind: (module_body(kind), module_summary(kind)) for kind in ("modules", "python2Packages", "python3Packages")},
    "runtimeEnvironments": (runtime_environment_body, runtime_environment_body),
    "sourceControls": (source_control_body, source_control_body),
    "credentials": (credential_body, credential_body),
    "certificates": (certificate_body, certificate_body),
    "connections": (connection_body, connection_summary),
    "variables": (variable_body, variable_body),
}
