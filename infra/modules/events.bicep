// The Event Hub that the Activity Log is exported to. The namespace serves this one purpose, because the export needs
// local authentication on it.

@description('Name of the namespace.')
param name string

@description('Region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the hub.')
param hubName string

@description('Name of the consumer group that only the detector reads with.')
param consumerGroupName string

@description('Partitions of the hub. They cannot be reduced later.')
@minValue(1)
@maxValue(32)
param partitionCount int

@description('Throughput units that the namespace may grow to.')
@minValue(1)
@maxValue(40)
param maximumThroughputUnits int

@description('Object id of the identity that reads the hub.')
param principalId string

@description('Enabled, or Disabled where private endpoints are the only way in.')
@allowed(['Enabled', 'Disabled'])
param publicNetworkAccess string

resource namespace 'Microsoft.EventHub/namespaces@2024-01-01' = {
  name: name
  location: location
  tags: tags
  // Basic has no consumer group but $Default.
  sku: {
    name: 'Standard'
    tier: 'Standard'
    capacity: 1
  }
  properties: {
    // The export signs in with a shared access key and with nothing else: true would end it without an error.
    disableLocalAuth: false
    isAutoInflateEnabled: maximumThroughputUnits > 1
    maximumThroughputUnits: maximumThroughputUnits > 1 ? maximumThroughputUnits : 0
    minimumTlsVersion: '1.2'
    publicNetworkAccess: publicNetworkAccess
  }
}

resource networkRules 'Microsoft.EventHub/namespaces/networkRuleSets@2024-01-01' = if (publicNetworkAccess == 'Disabled') {
  parent: namespace
  name: 'default'
  properties: {
    // Azure Monitor is a trusted service: this lets the export in, and nothing else from outside.
    trustedServiceAccessEnabled: true
    publicNetworkAccess: 'Disabled'
    defaultAction: 'Deny'
  }
}

resource hub 'Microsoft.EventHub/namespaces/eventhubs@2024-01-01' = {
  parent: namespace
  name: hubName
  properties: {
    partitionCount: partitionCount
    // A compacted hub is not supported by the export.
    retentionDescription: {
      cleanupPolicy: 'Delete'
      retentionTimeInHours: 168
    }
  }
}

resource consumerGroup 'Microsoft.EventHub/namespaces/eventhubs/consumergroups@2024-01-01' = {
  parent: hub
  name: consumerGroupName
}

resource exportRule 'Microsoft.EventHub/namespaces/authorizationRules@2024-01-01' = {
  parent: namespace
  name: 'activity-log-export'
  properties: {
    // Manage would only be needed if the export had to create the hub; the diagnostic setting names it.
    rights: ['Send']
  }
}

var eventHubsDataReceiver = 'a638d3c7-ab3a-418d-83e6-5f17a39d4fde' // Azure Event Hubs Data Receiver

resource receives 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: hub
  name: guid(hub.id, principalId, eventHubsDataReceiver)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', eventHubsDataReceiver)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

@description('Resource id of the namespace.')
output namespaceResourceId string = namespace.id

@description('Host name of the namespace. No function gives its suffix in a sovereign cloud; the namespace does.')
output namespaceHostName string = split(replace(namespace.properties.serviceBusEndpoint, 'https://', ''), ':')[0]

@description('Name of the hub.')
output hubName string = hub.name

@description('Name of the consumer group.')
output consumerGroupName string = consumerGroup.name

@description('Resource id of the rule that the export signs in with.')
output exportRuleResourceId string = exportRule.id
