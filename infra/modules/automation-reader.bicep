// What the detector may read of Azure Automation in one subscription: a role of its own, because Reader sees everything
// and still cannot read what a job executed.

targetScope = 'subscription'

@description('Part of the name that tells deployments apart: names of roles are unique in a tenant.')
param resourceToken string

@description('Object id of the identity that reads.')
param principalId string

@description('Whether the role has the pattern that runtime environments need.')
param readRuntimeEnvironments bool

// Written by `make infra` from the code: exactly the actions of the requests that it makes.
var permissions = loadJsonContent('../role-actions.json')

resource role 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, resourceToken, 'automation-detector-reader')
  properties: {
    roleName: 'Automation detector reader (${resourceToken}, ${subscription().subscriptionId})'
    description: 'Reads Azure Automation for the detector: no values of credentials or keys, and no writes.'
    type: 'CustomRole'
    permissions: [
      {
        actions: union(permissions.actions, readRuntimeEnvironments ? permissions.runtimeEnvironmentActions : [])
        notActions: readRuntimeEnvironments ? permissions.runtimeEnvironmentNotActions : []
        dataActions: []
        notDataActions: []
      }
    ]
    assignableScopes: [subscription().id]
  }
}

resource assignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  // The object id is part of the name: of an existing assignment it cannot be changed.
  name: guid(subscription().id, resourceToken, principalId)
  properties: {
    roleDefinitionId: role.id
    principalId: principalId
    principalType: 'ServicePrincipal'
    description: 'The Azure Automation detector reads what it investigates'
  }
}
