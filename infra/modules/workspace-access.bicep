// What the detector may do on one workspace, and the facts of that workspace which other modules need. The workspace may
// be an existing one in another resource group or subscription.

@description('Name of the workspace, in the resource group that this module is deployed to.')
param workspaceName string

@description('Object id of the identity that hunts here.')
param principalId string

@description('Whether the detector itself writes Microsoft Sentinel incidents here.')
param writesIncidents bool = false

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' existing = {
  name: workspaceName
}

var logAnalyticsReader = '73c42c96-874c-492b-b04d-ab87d138a893' // Log Analytics Reader
var sentinelResponder = '3e150937-b8fe-4cfb-8069-0eaf05ecd056' // Microsoft Sentinel Responder

resource readsLogs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: workspace
  name: guid(workspace.id, principalId, logAnalyticsReader)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', logAnalyticsReader)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

resource respondsToIncidents 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (writesIncidents) {
  scope: workspace
  name: guid(workspace.id, principalId, sentinelResponder)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', sentinelResponder)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

@description('Region of the workspace: the data collection rule and the alert rules have to be in the same one.')
output location string = workspace.location

@description('Workspace id, the GUID that queries name.')
output customerId string = workspace.properties.customerId
