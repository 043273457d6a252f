// Watching the watcher. Four rules read the heartbeat, which proves code, identity, data collection rule and workspace at
// once. The fifth reads a metric of the Event Hubs namespace, because a dead workspace silences the other four.

@description('First part of the names of the rules.')
param namePrefix string

@description('Region of the workspace.')
param location string

@description('Tags of every resource.')
param tags object

@description('Resource id of the workspace that holds AutomationDetections_CL.')
param workspaceResourceId string

@description('Resource id of the Event Hubs namespace.')
param eventHubNamespaceResourceId string

@description('Resource id of the action group.')
param actionGroupResourceId string

var rules = [
  {
    name: 'no-heartbeat'
    title: 'Azure Automation detector: no heartbeat for 15 minutes'
    description: 'No hunt has ended for 15 minutes: nothing is detected. See docs/operate.md.'
    severity: 1
    query: loadTextContent('../queries/no-heartbeat.kql')
    frequency: 'PT5M'
    window: 'PT15M'
    operator: 'LessThan'
    threshold: 1
  }
  {
    name: 'deliveries-dead'
    title: 'Azure Automation detector: alerts do not reach a destination'
    description: 'A destination refused alerts for good or did not take them for a day. They are kept. See docs/operate.md.'
    severity: 2
    query: loadTextContent('../queries/deliveries-dead.kql')
    frequency: 'PT5M'
    window: 'PT15M'
    operator: 'GreaterThan'
    threshold: 0
  }
  {
    name: 'hunts-failing'
    title: 'Azure Automation detector: hunts fail or are behind'
    description: 'In three hunts of half an hour a rule failed or was behind: what it looks for is not found. See docs/operate.md.'
    severity: 2
    query: loadTextContent('../queries/hunts-failing.kql')
    frequency: 'PT5M'
    window: 'PT30M'
    operator: 'GreaterThanOrEqual'
    threshold: 3
  }
  {
    name: 'inventory-stale'
    title: 'Azure Automation detector: automation accounts are not being read'
    description: 'Three hunts of half an hour found an automation account that was not read for an hour: what leaves no row in a log is not seen. See docs/operate.md.'
    severity: 3
    query: loadTextContent('../queries/inventory-stale.kql')
    frequency: 'PT5M'
    window: 'PT30M'
    operator: 'GreaterThanOrEqual'
    threshold: 3
  }
]

resource queryRules 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for rule in rules: {
    name: '${namePrefix}-${rule.name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: rule.title
      description: rule.description
      severity: rule.severity
      enabled: true
      scopes: [workspaceResourceId]
      evaluationFrequency: rule.frequency
      windowSize: rule.window
      criteria: {
        allOf: [
          {
            // No dimensions: a series that stops is dropped and raises nothing.
            query: rule.query
            timeAggregation: 'Count'
            operator: rule.operator
            threshold: rule.threshold
            // One period: several would split the rows by time, which a query that keeps the newest row does not survive.
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      autoMitigate: true
      // A table that was created a moment ago may not be known to the query service yet.
      skipQueryValidation: true
      actions: {
        actionGroups: [actionGroupResourceId]
      }
    }
  }
]

resource eventHubLag 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: '${namePrefix}-event-hub-lag'
  location: 'global'
  tags: tags
  properties: {
    description: 'The Activity Log reaches the Event Hub and nobody reads it: the stream is down. See docs/operate.md.'
    severity: 2
    enabled: true
    scopes: [eventHubNamespaceResourceId]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'incoming'
          metricNamespace: 'Microsoft.EventHub/namespaces'
          metricName: 'IncomingMessages'
          timeAggregation: 'Total'
          operator: 'GreaterThan'
          threshold: 0
        }
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'outgoing'
          metricNamespace: 'Microsoft.EventHub/namespaces'
          metricName: 'OutgoingMessages'
          timeAggregation: 'Total'
          operator: 'LessThanOrEqual'
          threshold: 0
        }
      ]
    }
    autoMitigate: true
    actions: [
      {
        actionGroupId: actionGroupResourceId
      }
    ]
  }
}
