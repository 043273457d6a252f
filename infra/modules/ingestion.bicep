// The two tables and the data collection rule that fills them, in the resource group of the workspace.
// Tables and rule are in one module: across modules Azure has refused the rule because a table was not yet there.

@description('Name of the workspace, in the resource group that this module is deployed to.')
param workspaceName string

@description('Region of the workspace. The rule has to be in the same one.')
param location string

@description('Tags of every resource.')
param tags object

// 30 characters are the limit of a rule of kind Direct.
@description('Name of the data collection rule, at most 30 characters.')
param ruleName string

@description('Days that rows of the two tables are kept for queries.')
@minValue(4)
@maxValue(730)
param retentionInDays int

@description('Days that rows of the two tables are kept in all, long-term retention included.')
@minValue(4)
@maxValue(4383)
param totalRetentionInDays int

@description('Object id of the identity that sends rows.')
param principalId string

// Written by `make infra` from the code, so that no column can differ from what is sent.
var columns = loadJsonContent('../tables.json')

// A table says dateTime where a stream says datetime. A type that is not here fails the deployment.
var tableTypes = {
  string: 'string'
  datetime: 'dateTime'
  int: 'int'
  long: 'long'
  real: 'real'
  boolean: 'boolean'
  dynamic: 'dynamic'
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' existing = {
  name: workspaceName
}

resource detections 'Microsoft.OperationalInsights/workspaces/tables@2025-02-01' = {
  parent: workspace
  name: 'AutomationDetections_CL'
  properties: {
    plan: 'Analytics'
    retentionInDays: retentionInDays
    totalRetentionInDays: max(retentionInDays, totalRetentionInDays)
    schema: {
      name: 'AutomationDetections_CL'
      columns: [
        for column in columns.AutomationDetections_CL: {
          name: column.name
          type: tableTypes[column.type]
          description: column.description
        }
      ]
    }
  }
}

resource inventory 'Microsoft.OperationalInsights/workspaces/tables@2025-02-01' = {
  parent: workspace
  name: 'AutomationInventory_CL'
  properties: {
    plan: 'Analytics'
    retentionInDays: retentionInDays
    totalRetentionInDays: max(retentionInDays, totalRetentionInDays)
    schema: {
      name: 'AutomationInventory_CL'
      columns: [
        for column in columns.AutomationInventory_CL: {
          name: column.name
          type: tableTypes[column.type]
          description: column.description
        }
      ]
    }
  }
}

resource rule 'Microsoft.Insights/dataCollectionRules@2023-03-11' = {
  name: ruleName
  location: location
  tags: tags
  // Only this kind has endpoints of its own; without it a data collection endpoint would be needed.
  kind: 'Direct'
  properties: {
    description: 'Alerts, heartbeats and inventory changes of the Azure Automation detector'
    streamDeclarations: {
      'Custom-AutomationDetections_CL': {
        columns: [
          for column in columns.AutomationDetections_CL: {
            name: column.name
            type: column.type
          }
        ]
      }
      'Custom-AutomationInventory_CL': {
        columns: [
          for column in columns.AutomationInventory_CL: {
            name: column.name
            type: column.type
          }
        ]
      }
    }
    destinations: {
      logAnalytics: [
        {
          name: 'workspace'
          workspaceResourceId: workspace.id
        }
      ]
    }
    dataFlows: [
      {
        // The published values name Microsoft's streams alone.
        #disable-next-line enum-unknown
        streams: ['Custom-AutomationDetections_CL']
        destinations: ['workspace']
        transformKql: 'source'
        outputStream: 'Custom-AutomationDetections_CL'
      }
      {
        // The published values name Microsoft's streams alone.
        #disable-next-line enum-unknown
        streams: ['Custom-AutomationInventory_CL']
        destinations: ['workspace']
        transformKql: 'source'
        outputStream: 'Custom-AutomationInventory_CL'
      }
    ]
  }
  dependsOn: [
    detections
    inventory
  ]
}

var monitoringMetricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb' // Monitoring Metrics Publisher

resource sendsRows 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: rule
  name: guid(rule.id, principalId, monitoringMetricsPublisher)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', monitoringMetricsPublisher)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

@description('Endpoint that takes rows.')
output endpoint string = rule.properties.endpoints.logsIngestion

@description('Immutable id of the rule, dcr-...')
output immutableId string = rule.properties.immutableId

@description('Resource id of the rule.')
output ruleResourceId string = rule.id
