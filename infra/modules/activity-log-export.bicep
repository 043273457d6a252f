// The Activity Log of one subscription, to the Event Hub for the stream and to the workspace for the hunt.

targetScope = 'subscription'

@description('Name of the diagnostic setting.')
param name string

@description('Resource id of the rule that the export signs in with.')
param exportRuleResourceId string

@description('Name of the hub. Without it the export would create a hub for each category, and need the right to.')
param hubName string

@description('Resource id of the workspace; empty: another setting sends the Activity Log there already.')
param workspaceResourceId string

// What the rules read; ServiceHealth, Recommendation, Autoscale and ResourceHealth are not among it.
var categories = [
  'Administrative'
  'Security'
  'Alert'
  'Policy'
]

resource activityLog 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: name
  properties: {
    eventHubAuthorizationRuleId: exportRuleResourceId
    eventHubName: hubName
    workspaceId: empty(workspaceResourceId) ? null : workspaceResourceId
    logs: [
      for category in categories: {
        category: category
        enabled: true
      }
    ]
  }
}
